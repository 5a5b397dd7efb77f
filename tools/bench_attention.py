"""python -m tools.bench_attention moved to python -m tools.bench.attention."""

raise SystemExit("error: this benchmark has moved: python -m tools.bench.attention")
