"""The autoencoder of `make demo`: about three minutes on two CPU cores.

  python -m videodit.main --config=configs/demo_autoencoder.py --workdir=runs/demo/autoencoder

Hardware: two CPU cores, 4 GB. Data: runs/demo/data (tools/demo.py makes it).
Expectation: 0.38 dB above PCA on held-out clips (seed 0). After 4,000 steps with half of the clips
mirrored and half reversed, 1 h 30 min on one core, it is 2.35 dB (docs/autoencoder.md).
"""

from ml_collections import ConfigDict

from configs.common import demo, variant
from videodit.config import defaults


def get_config(arg: str | None = None) -> ConfigDict:
    """The config, or its variant `arg` (configs/common.py)."""
    config = demo(defaults())
    config.task, config.steps = "autoencoder", 250
    config.optim.update(learning_rate=3e-3, warmup_steps=20, ema_decay=0.98)
    return variant(config, arg)
