"""python -m tools.bench_autoencoder moved to python -m tools.bench.autoencoder."""

from videodit.config import refuse

refuse("this benchmark has moved: python -m tools.bench.autoencoder")
