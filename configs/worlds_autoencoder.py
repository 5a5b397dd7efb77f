"""The codec of `make world`: the principal components of a world's patches; nothing is trained.

  python -m videodit.main --config=configs/worlds_autoencoder.py --workdir=runs/world/autoencoder

Hardware: two CPU cores, 4 GB. Data: runs/world/data (tools/world.py makes it).
Expectation: 27.5 dB on held-out clips, by 48 components of a patch of 4 x 8 x 8 pixels (seed 0).
"""

from ml_collections import ConfigDict

from configs.common import demo, variant
from videodit.config import defaults


def get_config(arg: str | None = None) -> ConfigDict:
    """The config, or its variant `arg` (configs/common.py)."""
    config = demo(defaults())
    config.task, config.steps, config.eval_batches = "autoencoder", 1, 4
    config.data.catalog = config.text.workdir = "runs/world/data"
    # Beside the components is the smallest of transformers, whose output stays zero.
    config.autoencoder.update(size="smoke", channels=48, pca_batches=16)
    config.optim.learning_rate = 0.0
    return variant(config, arg)
