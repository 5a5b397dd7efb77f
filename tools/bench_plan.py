"""python -m tools.bench_plan moved to python -m tools.bench.plan."""

from videodit.config import refuse

refuse("this benchmark has moved: python -m tools.bench.plan")
