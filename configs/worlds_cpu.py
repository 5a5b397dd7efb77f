"""The text-to-video DiT of `make world`: sprites that do what prompts say, on two CPU cores.

  python -m videodit.main --config=configs/worlds_cpu.py --workdir=runs/world/dit

Images come first: most of what captions say is learned from them, at a third of a clip's tokens.
Rows are short, so that masked attention computes few pairs in vain.

Hardware: two CPU cores, 4 GB. Data, latents and codec: runs/world (tools/world.py makes them).
Expectation: a step takes 430 to 520 ms on idle cores, so about 40 minutes. Samples then show 100 %
of the backgrounds, 91 % of the colours, 79 % of the places and 49 % of the kinds that held-out
prompts claim, and the model tells right captions from seven others in 83 % of the cases (seed 0,
docs/learning.md).
"""

from ml_collections import ConfigDict

from configs.common import demo, variant, world_dit
from videodit.config import defaults


def get_config(arg: str | None = None) -> ConfigDict:
    """The config, or its variant `arg` (configs/common.py)."""
    config = world_dit(demo(defaults()))
    config.log_every, config.eval_every, config.save_every = 25, 1000, 250
    config.data.update(
        row_tokens=96,
        max_segments=6,
        batch_rows=10,
        rows_per_group=200,
        evaluation_rows=2,
    )
    config.data.views.images = ((0, 1.0), (2500, 0.25))
    config.text.size = "words"
    config.compute.attention = "masked"
    config.flow.fine_shift_tokens = 64
    config.optim.update(learning_rate=2e-3, warmup_steps=60, ema_decay=0.995)
    config.sample.update(size="32x32", frames=9, steps=20, followed=48)
    config.sample.prompts = (
        "a large red circle on black, moving left",
        "a small green square at the top on white",
    )
    return variant(config, arg)
