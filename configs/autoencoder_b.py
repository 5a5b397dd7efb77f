"""Video autoencoder of size B: 4x16x16 patches to 48 channels, adversarial in its second half.

  python -m videodit.main --config=configs/autoencoder_b.py --workdir=runs/autoencoder_b \
    --config.data.catalog=DATA --config.text.workdir=DATA

Hardware: 8 to 64 accelerators of 80 GB or more; on more of them raise data.batch_rows. By
videodit.plan a chip needs 29.5 GiB on v5p:2x2x2 (docs/pods.md).
DATA is a folder made by tools/curate.py.
With --config.losses.perceptual_features=LPIPS.npz (models/perceptual.py:read_lpips says how to make
it) and --config.losses.perceptual=0.2 the perceptual term is LPIPS.
Expectation: not trained yet; --config=configs/autoencoder_b.py:smoke runs two steps on a CPU.
"""

from ml_collections import ConfigDict

from configs.common import variant
from videodit.config import defaults


def get_config(arg: str | None = None) -> ConfigDict:
    """The config, or its variant `arg` (configs/common.py)."""
    config = defaults()
    config.task, config.steps = "autoencoder", 200_000
    config.autoencoder.update(size="B", patch=(4, 16, 16), channels=48)
    config.losses.update(
        l1=0.2,
        perceptual=0.1,
        gram=1.0,
        crop=4,
        adversarial=0.05,
        discriminator="S",
        discriminator_start=95_000,
        adversarial_start=100_000,
    )
    config.data.update(
        row_tokens=16384,
        text_tokens=0,
        max_segments=64,
        batch_rows=64,
        rows_per_group=256,
        workers=16,
    )
    config.data.views.update(sides=((0, 96, 256),), seconds=((0, 0.2, 2.5),), mirror=((0, 0.5),))
    config.optim.update(learning_rate=3e-4, warmup_steps=1000, ema_decay=0.9995)
    config.mesh.update(data=-1, fsdp=8)
    config.log_every, config.eval_every, config.save_every = 50, 5000, 1000
    config.eval_batches = 8
    return variant(config, arg)
