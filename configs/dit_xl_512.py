"""DiT-XL, second stage: larger and longer clips, from the weights of configs/dit_xl.py.

  python -m videodit.main --config=configs/dit_xl_512.py --workdir=runs/dit_xl_512 \
    --config.init_from=runs/dit_xl --config.data.catalog=DATA \
    --config.autoencoder.workdir=AUTOENCODER --config.text.workdir=DATA

Hardware: 512 accelerators, as for the first stage; rows of 65536 tokens over 4 of them each.
Expectation: not trained yet; --config=configs/dit_xl_512.py:smoke runs two steps of it on a CPU.
"""

from ml_collections import ConfigDict

from configs.common import pretrain_dit, variant
from videodit.config import defaults


def get_config(arg: str | None = None) -> ConfigDict:
    """The config, or its variant `arg` (configs/common.py)."""
    config = pretrain_dit(defaults(), "XL")
    config.steps = 100_000
    config.init_from = "runs/dit_xl"
    config.data.update(row_tokens=65536, batch_rows=128, rows_per_group=1024)
    config.data.views.update(
        sides=((0, 160, 512),),
        seconds=((0, 1, 6),),
        images=((0, 0.1),),
        drop=(),
    )
    config.optim.update(learning_rate=1e-4, warmup_steps=1000)
    config.mesh.update(data=-1, fsdp=32, context=4)
    config.log_every, config.eval_every, config.save_every = 50, 5000, 1000
    config.eval_batches = 8
    return variant(config, arg)
