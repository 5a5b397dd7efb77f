"""The text-to-video DiT of `make world`: sprites that do what prompts say, on two CPU cores.

  python -m videodit.main --config=configs/worlds_cpu.py --workdir=runs/world/dit

Hardware: two CPU cores, 4 GB. Data and codec: runs/world (configs/worlds_autoencoder.py).
"""

from ml_collections import ConfigDict

from configs.common import demo, variant
from videodit.config import defaults


def get_config(arg: str | None = None) -> ConfigDict:
    """The config, or its variant `arg` (configs/common.py)."""
    config = demo(defaults())
    config.task, config.steps = "diffusion", 1500
    config.eval_every, config.save_every, config.eval_batches = 250, 250, 2
    config.data.catalog = config.text.workdir = "runs/world/data"
    config.data.text_tokens = 0
    config.autoencoder.workdir = "runs/world/autoencoder"
    config.flow.update(shift_tokens=4, latent_power=0.5)
    config.optim.update(learning_rate=2e-3, warmup_steps=40, ema_decay=0.99)
    config.sample.update(size="32x32", frames=9, fps=8.0, steps=20, guidance=4.0, followed=24)
    return variant(config, arg)
