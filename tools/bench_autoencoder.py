"""python -m tools.bench_autoencoder moved to python -m tools.bench.autoencoder."""

raise SystemExit("error: this benchmark has moved: python -m tools.bench.autoencoder")
