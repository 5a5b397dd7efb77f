"""Video autoencoder of size S on one H100 in at most 10 minutes: the film and the worlds.

  python -m tools.film --out=runs/film
  python -m tools.curate --input=runs/film --out=runs/data/film --val_fraction=0.1 \
    --shapes=168x96x33@24,128x128x33@24,96x168x33@24,168x96x1
  for world in sprites stage rooms survival maze; do
    python -m tools.make_worlds --world=$world --clips=4000 --out=runs/data/$world \
      --sides=64,128 --frames=17,33 --fps=12,24 --tokens=2304 --tokenizer=runs/data/film
  done
  python -m videodit.main --config=configs/autoencoder_gpu.py --workdir=runs/autoencoder_gpu

Hardware: one H100 with 16 CPU cores (`pip install -e '.[cuda,worlds]'`).
Expectation: not run on a GPU yet; the demo's size on a CPU reached 2.2 dB above PCA on the film
(docs/autoencoder.md). --config=configs/autoencoder_gpu.py:smoke runs two steps on a CPU.

By videodit.plan a step of 16 rows of 2560 tokens takes 58 ms (13 % MFU) and 9.5 GiB, so 5,000 steps
take 4.8 minutes. The other five minutes are for compilation (two to three), evaluations and the
start. A clip of 17 frames at 128 pixels, the largest, is 1280 tokens of 4x8x8, so a row holds two:
32 such clips a step, or 550 a second, must be decoded. Smaller clips and images must be decoded
faster: up to 4,400 a second if all 256 segments of a step are used.
"""

from ml_collections import ConfigDict

from configs.common import variant
from videodit.config import defaults

WORLDS = ("sprites", "stage", "rooms", "survival", "maze")


def get_config(arg: str | None = None) -> ConfigDict:
    """The config, or its variant `arg` (configs/common.py)."""
    config = defaults()
    config.task, config.steps = "autoencoder", 5000
    config.autoencoder.update(size="S", patch=(4, 8, 8), channels=16)
    config.losses.perceptual = 0.02
    config.data.update(
        mixture=(("runs/data/film", 0.5), *((f"runs/data/{name}", 0.1) for name in WORLDS)),
        row_tokens=2560,
        text_tokens=0,
        max_segments=16,
        batch_rows=16,
        rows_per_group=256,
        workers=14,
    )
    config.data.views.update(
        sides=((0, 96, 128),),
        seconds=((0, 0.6, 0.71),),
        mirror=((0, 0.5),),  # and backwards, as one film is little
        reverse=((0, 0.5),),
    )
    config.text.workdir = "runs/data/film"
    config.optim.update(learning_rate=1e-3, warmup_steps=200, ema_decay=0.998)
    config.compute.update(remat="products", unroll=6)  # the fastest: memory is not short
    config.log_every, config.eval_every, config.save_every = 20, 1000, 2000
    config.eval_batches = 8
    return variant(config, arg)
