"""Video autoencoder of size B, 4x8x8 patches to 16 channels.

  python -m videodit.main --config=configs/autoencoder_b.py --workdir=runs/autoencoder_b \
    --config.data.catalog=DATA --config.text.workdir=DATA

Hardware: 8 to 64 accelerators of 32 GB or more. DATA is a folder made by tools/curate.py.
Expectation: not trained yet; --config=configs/autoencoder_b.py:smoke runs two steps on a CPU.
"""

from configs.common import variant
from videodit.config import defaults


def get_config(arg: str | None = None):
    config = defaults()
    config.task, config.steps = "autoencoder", 200_000
    config.autoencoder.size = "B"
    config.data.update(
        row_tokens=16384,
        text_tokens=8192,
        max_segments=64,
        batch_rows=64,
        rows_per_window=256,
        threads=16,
    )
    config.optim.update(learning_rate=3e-4, warmup_steps=1000, ema_decay=0.9995)
    config.mesh.update(data=-1, fsdp=8)
    config.log_every, config.eval_every, config.save_every = 50, 5000, 1000
    config.eval_batches = 8
    return variant(config, arg)
