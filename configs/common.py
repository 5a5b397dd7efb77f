"""What several configs share: the choice of a variant, and settings."""

from ml_collections import ConfigDict

from videodit.config import MULTISCALE, RANDOM, SYNTHETIC, ConfigError, defaults, nearest


def variant(config: ConfigDict, arg: str | None) -> ConfigDict:
    """The variant that `--config=FILE.py:ARG` asks for; without ARG it is `config` itself.

    Raises ConfigError for an unknown ARG.
    """
    variants = {"": lambda config: config, "smoke": smoke}
    name = arg or ""
    if name not in variants:
        raise ConfigError(f"unknown variant {name!r} of a config: {nearest(name, variants)}")
    return variants[name](config)


def smoke(config: ConfigDict) -> ConfigDict:
    """Shrinks a config to two steps on a CPU in under a minute: small models, synthetic clips."""
    config.steps = config.eval_every = config.save_every = 2
    config.init_from = ""
    config.log_every = config.eval_batches = 1
    config.data.update(
        catalog=SYNTHETIC,
        mixture=(),
        where="",
        latents="",
        row_tokens=320,
        text_tokens=128,
        max_segments=8,
        batch_rows=2,
        evaluation_rows=0,
        rows_per_group=4,
        workers=0,
        views=defaults().data.views,
    )
    config.autoencoder.update(
        workdir=RANDOM, size="smoke", patch=(4, 8, 8), channels=16, pca_batches=1
    )
    config.losses.update(
        perceptual_features=MULTISCALE,
        crop=2,
        discriminator="smoke",
        discriminator_start=0,
        adversarial_start=1,
    )
    config.text.update(workdir=SYNTHETIC, size="smoke")
    config.dit.size = "smoke"
    config.sample.update(steps=2, size="32x32", frames=5, followed=0)
    config.sample.prompts = config.sample.prompts[:1]
    config.compute.update(dtype="float32", residual_dtype="float32")
    config.mesh.update(data=1, fsdp=1, ring=1, context=1, tensor=1)
    return config


def demo(config: ConfigDict) -> ConfigDict:
    """Settings of the demo's two runs: rows of 504 tokens of small clips, float32 for CPUs.

    The demo's clips are seen whole. Clips of other data that are longer than a row are cut.
    """
    config.data.update(
        catalog="runs/demo/data",
        row_tokens=504,
        text_tokens=320,
        max_segments=14,
        batch_rows=4,
        rows_per_group=64,
    )
    config.data.views.seconds = ((0, 1000, 1000),)
    config.text.update(workdir="runs/demo/data", size="demo")
    config.autoencoder.size = config.dit.size = "demo"
    config.compute.update(dtype="float32", residual_dtype="float32", remat="dots")
    config.mesh.data = 1
    config.log_every, config.eval_every, config.save_every = 10, 100, 50
    return config


def world_dit(config: ConfigDict) -> ConfigDict:
    """What the DiTs of simulated worlds share: paths, noise levels, Muon (docs/learning.md)."""
    config.task, config.steps = "diffusion", 4500
    config.eval_batches, config.inspect_batches = 8, 4
    config.data.update(catalog="runs/world/data", latents="runs/world/latents", text_tokens=0)
    config.autoencoder.workdir = "runs/world/autoencoder"
    config.text.workdir = "runs/world/data"
    config.dit.initial_modulation = 0.5
    config.flow.update(shift_tokens=4, fine_share=0.2, latent_power=0.5)
    config.optim.update(matrices="muon", final_fraction=0.0)
    config.sample.update(fps=8.0, guidance=4.0)
    return config


def pretrain_dit(config: ConfigDict, size: str) -> ConfigDict:
    """Settings of text-to-video pretraining at a real size: rows of 16384 tokens, all modes.

    Clips have sides of 96 to 256 pixels and last up to 2.5 seconds. Tokens are dropped at first.
    """
    config.task = "diffusion"
    config.dit.size, config.text.size = size, "B"
    config.autoencoder.update(size="B", patch=(4, 16, 16), channels=48)  # configs/autoencoder_b.py
    config.data.update(row_tokens=16384, text_tokens=0, max_segments=64, workers=16)
    config.data.views.update(
        sides=((0, 96, 256),),
        seconds=((0, 0.5, 2.5),),
        rates=((0, 8, 12, 24),),
        images=((0, 0.3), (100_000, 0.15)),
        drop=((0, 0.6, 2, 2), (100_000, 0.3, 2, 2), (200_000, 0, 1, 1)),
    )
    config.data.modes.update(
        generate=0.7, animate=0.1, extend=0.05, prepend=0.05, connect=0.05, inpaint=0.05
    )
    # Half of the clips reach the levels where captions decide, the others learn fine texture.
    config.flow.update(shift_tokens=16, fine_share=0.5, fine_shift_tokens=1024)
    config.compute.remat = "attention"  # the least memory without computing attention twice
    config.optim.update(learning_rate=2e-4, warmup_steps=2000, weight_decay=0.0, ema_decay=0.9999)
    config.sample.update(
        size="256x144",
        frames=65,
        fps=24.0,
        guidance=6.0,
        prompts=(
            "A red fox trots through fresh snow at dawn, its breath visible in the cold air.",
            "A slow aerial shot over a turquoise bay with white sailing boats.",
            "Rain runs down a window at night while blurred city lights drift past.",
        ),
    )
    return config
