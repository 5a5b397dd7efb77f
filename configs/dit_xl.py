"""DiT-XL text-to-video pretraining.

  python -m videodit.main --config=configs/dit_xl.py --workdir=runs/dit_xl \
    --config.data.catalog=DATA --config.autoencoder.workdir=AUTOENCODER --config.text.workdir=DATA

Hardware: 512 accelerators (a TPU v5p-1024 slice, or 64 nodes of 8 H100).
DATA is a folder made by tools/curate.py, AUTOENCODER the run of configs/autoencoder_b.py.
Expectation: not trained yet; --config=configs/dit_xl.py:smoke runs two steps of it on a CPU.
"""

from ml_collections import ConfigDict

from configs.common import pretrain_dit, variant
from videodit.config import defaults


def get_config(arg: str | None = None) -> ConfigDict:
    """The config, or its variant `arg` (configs/common.py)."""
    config = pretrain_dit(defaults(), "XL")
    config.steps = 400_000
    config.data.update(batch_rows=512, rows_per_group=2048)
    config.mesh.update(data=-1, fsdp=128)
    config.log_every, config.eval_every, config.save_every = 50, 5000, 1000
    config.eval_batches = 8
    return variant(config, arg)
