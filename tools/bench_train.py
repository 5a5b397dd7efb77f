"""python -m tools.bench_train moved to python -m tools.bench.train."""

from videodit.config import refuse

refuse("this benchmark has moved: python -m tools.bench.train")
