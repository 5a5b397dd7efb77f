"""The text-to-video DiT of `make demo`: about five minutes on two CPU cores.

  python -m videodit.main --config=configs/demo_dit.py --workdir=runs/demo/dit

Hardware: two CPU cores, 4 GB. Data and autoencoder: runs/demo (tools/demo.py makes them).
"""

from configs.common import variant
from videodit.config import defaults


def get_config(arg: str | None = None):
    config = defaults()
    config.task, config.steps = "diffusion", 300
    config.data.update(
        catalog="runs/demo/data",
        row_tokens=504,
        text_tokens=320,
        max_segments=14,
        batch_rows=4,
        rows_per_window=64,
    )
    config.data.tasks.update(generate=0.8, animate=0.1, extend=0.05, connect=0.05)
    config.autoencoder.workdir = "runs/demo/autoencoder"
    config.text.update(workdir="runs/demo/data", size="demo")
    config.dit.size = "demo"
    config.optim.update(learning_rate=2e-3, warmup_steps=40, ema_decay=0.98)
    config.compute.update(dtype="float32", residual_dtype="float32", remat="dots")
    config.sample.update(
        size="48x48",
        frames=9,
        fps=12.0,
        steps=10,
        prompts=(
            "A big gray rabbit stands on the green grass.",
            "A purple bird on a tree branch against a soft lilac sky.",
        ),
    )
    config.log_every, config.eval_every, config.save_every = 10, 100, 50
    config.eval_batches = 0
    return variant(config, arg)
