"""python -m tools.bench_plan moved to python -m tools.bench.plan."""

raise SystemExit("error: this benchmark has moved: python -m tools.bench.plan")
