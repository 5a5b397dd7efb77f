"""DiT-B text-to-video pretraining.

  python -m videodit.main --config=configs/dit_b.py --workdir=runs/dit_b \
    --config.data.catalog=DATA --config.autoencoder.workdir=AUTOENCODER --config.text.workdir=DATA

Hardware: 16 to 64 accelerators of 32 GB or more.
DATA is a folder made by tools/curate.py, AUTOENCODER the run of configs/autoencoder_b.py.
Expectation: not trained yet; --config=configs/dit_b.py:smoke runs two steps of it on a CPU.
"""

from ml_collections import ConfigDict

from configs.common import pretrain_dit, variant
from videodit.config import defaults


def get_config(arg: str | None = None) -> ConfigDict:
    """The config, or its variant `arg` (configs/common.py)."""
    config = pretrain_dit(defaults(), "B")
    config.steps = 400_000
    config.data.update(batch_rows=128, rows_per_group=512)
    config.mesh.update(data=-1, fsdp=8)
    config.log_every, config.eval_every, config.save_every = 50, 5000, 1000
    config.eval_batches = 8
    return variant(config, arg)
