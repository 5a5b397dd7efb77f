"""python -m tools.bench_loader moved to python -m tools.bench.loader."""

raise SystemExit("error: this benchmark has moved: python -m tools.bench.loader")
