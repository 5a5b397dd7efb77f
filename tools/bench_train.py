"""python -m tools.bench_train moved to python -m tools.bench.train."""

raise SystemExit("error: this benchmark has moved: python -m tools.bench.train")
