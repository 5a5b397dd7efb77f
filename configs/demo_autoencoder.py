"""The autoencoder of `make demo`: about three minutes on two CPU cores.

  python -m videodit.main --config=configs/demo_autoencoder.py --workdir=runs/demo/autoencoder

Hardware: two CPU cores, 4 GB. Data: runs/demo/data (tools/demo.py makes it).
"""

from configs.common import variant
from videodit.config import defaults


def get_config(arg: str | None = None):
    config = defaults()
    config.task, config.steps = "autoencoder", 250
    config.data.update(
        catalog="runs/demo/data",
        row_tokens=504,
        text_tokens=320,
        max_segments=14,
        batch_rows=4,
        rows_per_window=64,
    )
    config.text.workdir = "runs/demo/data"
    config.autoencoder.update(size="demo", pca_batches=8)
    config.optim.update(learning_rate=3e-3, warmup_steps=20, ema_decay=0.98)
    config.compute.update(dtype="float32", residual_dtype="float32", remat="dots")
    config.log_every, config.eval_every, config.save_every = 10, 100, 50
    config.eval_batches = 0
    return variant(config, arg)
