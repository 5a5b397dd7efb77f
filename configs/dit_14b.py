"""A DiT of 14 billion parameters, text to video in 720p: a row holds 81 frames of 1280x720.

  python -m videodit.main --config=configs/dit_14b.py --workdir=runs/dit_14b \
    --config.data.catalog=DATA --config.autoencoder.workdir=AUTOENCODER --config.text.workdir=DATA

Hardware: 1024 TPU v5p chips (8x8x16), or 64 nodes of 8 H100: 8 share a row, within a node.
DATA is a folder made by tools/curate.py, AUTOENCODER the run of configs/autoencoder_b.py.
13.05 billion parameters in the DiT, 0.97 billion in the text encoder (vocabulary of 32,000).
Expectation: not trained yet; --config=configs/dit_14b.py:smoke runs two steps of it on a CPU.
"""

from ml_collections import ConfigDict

from configs.common import pretrain_dit, variant
from videodit.config import defaults


def get_config(arg: str | None = None) -> ConfigDict:
    """The config, or its variant `arg` (configs/common.py)."""
    config = pretrain_dit(defaults(), "14B")
    config.steps = 200_000
    config.dit.modulation, config.text.size = "shared", "XL"
    config.data.update(row_tokens=75776, batch_rows=128, rows_per_group=1024)
    config.data.views.update(sides=((0, 160, 960),), seconds=((0, 0.5, 5.1),), rates=((0, 16, 24),))
    config.optim.update(learning_rate=1e-4)
    config.mesh.update(data=-1, fsdp=64, context=8)
    config.log_every, config.eval_every, config.save_every = 50, 5000, 500
    config.eval_batches = 2
    return variant(config, arg)
