"""python -m tools.bench_attention moved to python -m tools.bench.attention."""

from videodit.config import refuse

refuse("this benchmark has moved: python -m tools.bench.attention")
