"""A DiT of 3 billion parameters, text to video: between configs/dit_xl.py and configs/dit_14b.py.

  python -m videodit.main --config=configs/dit_3b.py --workdir=runs/dit_3b \
    --config.data.catalog=DATA --config.autoencoder.workdir=AUTOENCODER --config.text.workdir=DATA

Hardware: 512 accelerators (a TPU v5p-1024 slice, or 64 nodes of 8 H100).
DATA is a folder made by tools/curate.py, AUTOENCODER the run of configs/autoencoder_b.py.
3.03 billion parameters in the DiT, 0.33 billion in the text encoder (vocabulary of 32,000).
Expectation: not trained yet; --config=configs/dit_3b.py:smoke runs two steps of it on a CPU.
"""

from ml_collections import ConfigDict

from configs.common import pretrain_dit, variant
from videodit.config import defaults


def get_config(arg: str | None = None) -> ConfigDict:
    """The config, or its variant `arg` (configs/common.py)."""
    config = pretrain_dit(defaults(), "3B")
    config.steps = 400_000
    config.dit.modulation, config.text.size = "shared", "L"
    config.data.update(row_tokens=32768, batch_rows=512, rows_per_group=2048)
    config.data.views.update(sides=((0, 96, 384),), seconds=((0, 0.5, 4),))
    config.optim.update(learning_rate=1.5e-4)
    config.mesh.update(data=-1, fsdp=128)
    config.log_every, config.eval_every, config.save_every = 50, 5000, 1000
    config.eval_batches = 8
    return variant(config, arg)
