"""A text-to-video DiT of size B on one H100 in at most 10 minutes: all kinds of scenes of sprites.

  python -m tools.make_worlds --world=sprites --clips=200000 --sides=64,64 --frames=1,17 \
    --fps=8,8 --out=runs/world/data
  python -m videodit.main --config=configs/worlds_autoencoder.py --workdir=runs/world/autoencoder
  python -m tools.encode_latents --autoencoder=runs/world/autoencoder --data=runs/world/data \
    --out=runs/world/latents
  python -m videodit.main --config=configs/worlds_gpu.py --workdir=runs/world/dit
  python -m tools.evaluate_prompts --workdir=runs/world/dit --data=runs/world/data \
    --out=runs/world/prompts

Hardware: one H100 with 16 CPU cores (`pip install -e '.[cuda]'`). The first three commands need no
GPU.
Expectation: not run on a GPU yet. --config=configs/worlds_gpu.py:smoke runs two steps on a CPU.

By videodit.plan a step of 16 rows of 2048 tokens takes 93 ms (26 % MFU) and 13.5 GiB, so 4,500
steps take 7 minutes. The other three are for compilation (100 s on two cores), evaluations and the
start. At first a step holds 512 images: 5,500 latents a second must be read.
"""

from ml_collections import ConfigDict

from configs.common import variant, world_dit
from videodit.config import defaults


def get_config(arg: str | None = None) -> ConfigDict:
    """The config, or its variant `arg` (configs/common.py)."""
    config = world_dit(defaults())
    config.log_every, config.eval_every, config.save_every = 20, 1000, 1000
    config.data.update(
        row_tokens=2048,
        max_segments=32,
        batch_rows=16,
        rows_per_group=256,
        workers=12,
    )
    config.data.views.images = ((0, 1.0), (2000, 0.25))
    config.text.size = "S"
    config.dit.size = "B"
    config.flow.fine_shift_tokens = 256
    config.compute.update(remat="products", unroll=12)
    config.optim.update(learning_rate=1e-3, warmup_steps=200, ema_decay=0.998)
    config.sample.update(size="64x64", frames=17, steps=30, followed=96)
    config.sample.prompts = (
        "a large red circle on black, moving left",
        "a small green square passing behind a blue triangle on white",
    )
    return variant(config, arg)
