"""The demo: from a film to generated videos in six stages.

    python -m tools.demo --out=runs/demo

After an interruption the same command skips the stages that are done and resumes the next one.
"""

import json
from pathlib import Path

from absl import flags

from tools.stages import run_recipe
from videodit.entry import run_command

SHAPES = "96x56x17@12,48x48x9@6,56x96x17@8,96x56x1,48x48x1,56x96x1"  # width x height x frames @ fps
PROMPT_SHOTS = (1, 13, 56, 100)  # shots of the film; their captions are the prompts
REQUESTS = (("96x56", 17, 12), ("96x56", 9, 12), ("48x48", 9, 6), ("56x96", 17, 8))


def stages(out: Path) -> dict[str, list[str]]:
    """The stages in order: by name, the arguments of `python -m`."""
    return {
        "film": ["tools.film", f"--out={out}/film"],
        "curate": [
            "tools.curate",
            f"--input={out}/film",
            f"--out={out}/data",
            f"--shapes={SHAPES}",
            "--val_fraction=0.25",
        ],
        "autoencoder": [
            "videodit.main",
            "--config=configs/demo_autoencoder.py",
            f"--workdir={out}/autoencoder",
            f"--config.data.catalog={out}/data",
            f"--config.text.workdir={out}/data",
        ],
        "dit": [
            "videodit.main",
            "--config=configs/demo_dit.py",
            f"--workdir={out}/dit",
            f"--config.data.catalog={out}/data",
            f"--config.autoencoder.workdir={out}/autoencoder",
            f"--config.text.workdir={out}/data",
        ],
        "generate": [
            "videodit.generate",
            f"--workdir={out}/dit",
            f"--requests={out}/requests.jsonl",
            f"--out={out}/samples",
        ],
        "report": ["tools.report", f"--run={out}"],
    }


def write_requests(film: Path, file: Path) -> None:
    """Writes a line for each video to generate: every prompt in every form of REQUESTS."""
    shots = [json.loads(line) for line in (film / "big_buck_bunny.jsonl").open()]
    prompts = [shot["caption"] for shot in shots if shot["shot"] in PROMPT_SHOTS]
    lines = [
        {
            "prompt": prompt,
            "size": size,
            "frames": frames,
            "fps": fps,
            "seed": seed,
            "out": f"{seed}_{size}x{frames}.mp4",
        }
        for seed, prompt in enumerate(prompts)
        for size, frames, fps in REQUESTS
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def prepare_requests(out: Path) -> None:
    """Writes the requests of the stage "generate"."""
    write_requests(out / "film", out / "requests.jsonl")


def main(_: list[str]) -> int:
    """Runs the command line; returns exit status 0, or 1 if a stage failed."""
    return run_recipe(flags.FLAGS.out, stages, {"generate": prepare_requests})


if __name__ == "__main__":
    flags.DEFINE_string("out", "runs/demo", "folder for the film, the models and the videos")
    run_command(main)
