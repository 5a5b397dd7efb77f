"""python -m tools.bench_loader moved to python -m tools.bench.loader."""

from videodit.config import refuse

refuse("this benchmark has moved: python -m tools.bench.loader")
