"""DiT-S text-to-video pretraining.

  python -m videodit.main --config=configs/dit_s.py --workdir=runs/dit_s \
    --config.data.catalog=DATA --config.autoencoder.workdir=AUTOENCODER --config.text.workdir=DATA

Hardware: 8 accelerators of 16 GB or more (a TPU v5e-8, or one node of GPUs).
DATA is a folder made by tools/curate.py, AUTOENCODER the run of configs/autoencoder_b.py.
Expectation: not trained yet; --config=configs/dit_s.py:smoke runs two steps of it on a CPU.
"""

from ml_collections import ConfigDict

from configs.common import pretrain_dit, variant
from videodit.config import defaults


def get_config(arg: str | None = None) -> ConfigDict:
    """The config, or its variant `arg` (configs/common.py)."""
    config = pretrain_dit(defaults(), "S")
    config.steps = 200_000
    config.data.update(batch_rows=64, rows_per_group=256)
    config.mesh.update(data=-1)
    config.log_every, config.eval_every, config.save_every = 50, 5000, 1000
    config.eval_batches = 8
    return variant(config, arg)
