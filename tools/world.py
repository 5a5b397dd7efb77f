"""A model that does what prompts say: from a world of sprites to a page of videos, in six stages.

    python -m tools.world --out=runs/world

Clips of one object on a plain ground are rendered and captioned, encoded once, and learned: images
first, then short clips. Held-out captions are then the prompts of the videos that the page shows,
and the world's detector reads how far the videos follow them. After an interruption the same
command skips the stages that are done and resumes the next one.
"""

from pathlib import Path

from absl import flags

from tools.stages import run_recipe
from videodit.entry import run_command

CLIPS = 36_000
PROMPTS = 192


def stages(out: Path) -> dict[str, list[str]]:
    """The stages in order: by name, the arguments of `python -m`."""
    data = [f"--config.data.catalog={out}/data", f"--config.text.workdir={out}/data"]
    return {
        "data": [
            "tools.make_worlds",
            "--world=sprites",
            "--scenes=one",
            "--sides=32,32",
            "--frames=1,9",
            "--fps=8,8",
            f"--clips={CLIPS}",
            f"--out={out}/data",
        ],
        "autoencoder": [
            "videodit.main",
            "--config=configs/worlds_autoencoder.py",
            f"--workdir={out}/autoencoder",
            *data,
        ],
        "latents": [
            "tools.encode_latents",
            f"--autoencoder={out}/autoencoder",
            f"--data={out}/data",
            f"--out={out}/latents",
        ],
        "dit": [
            "videodit.main",
            "--config=configs/worlds_cpu.py",
            f"--workdir={out}/dit",
            *data,
            f"--config.data.latents={out}/latents",
            f"--config.autoencoder.workdir={out}/autoencoder",
        ],
        "prompts": [
            "tools.evaluate_prompts",
            f"--workdir={out}/dit",
            f"--data={out}/data",
            f"--clips={PROMPTS}",
            f"--out={out}/prompts",
        ],
        "report": ["tools.report", "--page=world", f"--run={out}"],
    }


def main(_: list[str]) -> int:
    """Runs the command line; returns exit status 0, or 1 if a stage failed."""
    return run_recipe(flags.FLAGS.out, stages, {})


if __name__ == "__main__":
    flags.DEFINE_string("out", "runs/world", "folder for the clips, the models and the videos")
    run_command(main)
