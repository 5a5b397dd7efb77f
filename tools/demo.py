"""The demo: from a film to generated videos in six stages.

    python -m tools.demo --out=runs/demo

After an interruption the same command skips the stages that are done and resumes the next one.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from absl import flags

from videodit.entry import run_command
from videodit.folders import make_folder
from videodit.metrics import format_seconds

SHAPES = "96x56x17@12,48x48x9@6,56x96x17@8,96x56x1,48x48x1,56x96x1"  # width x height x frames @ fps
PROMPT_SHOTS = (1, 13, 56, 100)  # shots of the film; their captions are the prompts
REQUESTS = (("96x56", 17, 12), ("96x56", 9, 12), ("48x48", 9, 6), ("56x96", 17, 8))
SAVE_SECONDS = 5  # seconds between two records of a running stage


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


class StageRecord:
    """A JSON file that tells which stages are done, and the seconds of each over all runs."""

    def __init__(self, file: Path) -> None:
        """Reads the file if it exists."""
        self._file = file
        self.stages: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}

    def seconds(self, name: str) -> float:
        """The seconds that a stage took so far."""
        return self.stages.get(name, {}).get("seconds", 0.0)

    def done(self, name: str) -> bool:
        """Whether a stage has succeeded."""
        return self.stages.get(name, {}).get("done", False)

    def record(self, name: str, seconds: float, done: bool) -> None:
        """Records a stage. The file is replaced whole: a crash leaves the old or the new one."""
        self.stages[name] = {"seconds": round(seconds, 1), "done": done}
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.stages, indent=2) + "\n")
        temporary.replace(self._file)


def run_stage(name: str, command: list[str], log: Path, record: StageRecord) -> int:
    """Runs a stage and returns its exit status; its output goes to the screen and into `log`."""
    before, start = record.seconds(name), time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    output = process.stdout
    assert output
    try:
        with log.open("ab") as file:
            for chunk in iter(lambda: os.read(output.fileno(), 65536), b""):
                sys.stdout.buffer.write(chunk)
                sys.stdout.flush()
                file.write(chunk)
                seconds = before + time.monotonic() - start
                if seconds - record.seconds(name) > SAVE_SECONDS:
                    record.record(name, seconds, done=False)
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        seconds = before + time.monotonic() - start
        record.record(name, seconds, done=process.returncode == 0)


def run_stages(out: Path) -> int:
    """Runs the stages that are not done yet; returns 0, or 1 if a stage failed."""
    record, start = StageRecord(out / "stages.json"), time.monotonic()
    for number, (name, command) in enumerate(stages(out).items(), 1):
        title = f"[{number}/{len(stages(out))} {name}]"
        if record.done(name):
            print(f"{title} done before, in {format_seconds(record.seconds(name))}", flush=True)
            continue
        elapsed = format_seconds(time.monotonic() - start)
        print(f"\n{title} after {elapsed}: python -m {' '.join(command)}", flush=True)
        if name == "generate":
            write_requests(out / "film", out / "requests.jsonl")
        log = out / f"{name}.log"
        status = run_stage(name, command, log, record)
        took = format_seconds(record.seconds(name))
        if status:
            print(f"{title} failed after {took} with exit status {status}; its output: {log}")
            return 1
        print(f"{title} took {took}", flush=True)
    total = sum(record.seconds(name) for name in stages(out))
    print(f"\nThe demo took {format_seconds(total)}. Open {out}/report.html")
    return 0


def main(_: list[str]) -> int:
    """Runs the command line; returns exit status 0, or 1 if a stage failed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    out = make_folder(flags.FLAGS.out, "--out")
    try:
        return run_stages(out)
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from here.")
        return 130


if __name__ == "__main__":
    flags.DEFINE_string("out", "runs/demo", "folder for the film, the models and the videos")
    run_command(main)
