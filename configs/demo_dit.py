"""The text-to-video DiT of `make demo`: about six minutes on two CPU cores.

  python -m videodit.main --config=configs/demo_dit.py --workdir=runs/demo/dit

Hardware: two CPU cores, 4 GB. Data and autoencoder: runs/demo (tools/demo.py makes them).
Expectation: validation loss about 0.46 below the best linear predictor, and 0.039 lower with the
right captions than with shuffled ones (seed 0).
"""

from ml_collections import ConfigDict

from configs.common import demo, variant
from videodit.config import defaults


def get_config(arg: str | None = None) -> ConfigDict:
    """The config, or its variant `arg` (configs/common.py)."""
    config = demo(defaults())
    config.task, config.steps = "diffusion", 300
    config.data.modes.update(generate=0.8, animate=0.1, extend=0.05, connect=0.05)
    config.autoencoder.workdir = "runs/demo/autoencoder"
    config.optim.update(learning_rate=2e-3, warmup_steps=40, ema_decay=0.98)
    config.sample.update(size="48x48", frames=9, fps=12.0, steps=10, guidance=2.0)
    config.sample.prompts = (
        "A big gray rabbit stands on the green grass.",
        "A purple bird on a tree branch against a soft lilac sky.",
    )
    return variant(config, arg)
