"""What streaming through an autoencoder costs: memory, and time for each frame.

    python -m videodit.eval.streaming --workdir=runs/autoencoder --frames=2000 --size=256x256

streams that many frames and prints, as JSON, the peak memory of its process.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags
from absl import logging as absl_logging

from videodit.config import ConfigError, parse_size
from videodit.entry import run_command
from videodit.inference.codec import Codec

FPS = 24.0
MEMORY_FRAMES = (200, 2000)
COST_FRAMES = (17, 33, 65, 129, 257, 513)
REPEATS = 3


def made_up_frames(count: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yields `count` frames H W 3 uint8 of a moving picture of noise."""
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for i in range(count):
        yield np.roll(picture, i, axis=1)


def stream(codec: Codec, count: int, size: tuple[int, int]) -> int:
    """Encodes and decodes `count` frames without keeping any; returns how many came back."""
    latents = codec.encode_stream(made_up_frames(count, size), FPS)
    return sum(map(len, codec.decode_stream(latents, FPS)))


def seconds_per_frame(
    codec: Codec, counts: Sequence[int] = COST_FRAMES, size: tuple[int, int] = (64, 64)
) -> dict[int, float]:
    """For each count, wall seconds a frame of encoding and decoding: the least of REPEATS rounds.

    Wall time includes what else the machine does. Processor time would not, but it would leave out
    an accelerator's work too. Every round takes all counts, so that a slow minute hits all of them.
    """
    stream(codec, min(counts), size)  # compiles
    times: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(REPEATS):
        for count in counts:
            start = time.perf_counter()
            stream(codec, count, size)
            times[count].append((time.perf_counter() - start) / count)
    return {count: min(found) for count, found in times.items()}


def peak_memory(workdir: str, frames: int, size: str) -> dict[str, int]:
    """Peak bytes of a child process that streams so many frames. Raises ConfigError if it fails."""
    command = [sys.executable, "-m", "videodit.eval.streaming", f"--workdir={workdir}"]
    done = subprocess.run(
        [*command, f"--frames={frames}", f"--size={size}"], capture_output=True, text=True
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"]
        raise ConfigError(f"streaming {frames} frames: {said[-1].removeprefix('error: ')}")
    return json.loads(done.stdout.splitlines()[-1])


def memory_of_streaming(workdir: str, size: str) -> dict[int, dict[str, int]]:
    """`peak_memory` for each of MEMORY_FRAMES. Call it before this process takes the device.

    Raises ConfigError.
    """
    found = {}
    for frames in MEMORY_FRAMES:
        print(f"memory of streaming {frames} frames", flush=True)
        found[frames] = peak_memory(workdir, frames, size)
    return found


def measure_streaming(
    codec: Codec, size: tuple[int, int], memory: dict[int, dict[str, int]]
) -> dict[str, Any]:
    """The report on streaming frames of (height, width); `memory` was measured before."""
    print("time of streaming", flush=True)
    return {
        "size": f"{size[1]}x{size[0]}",
        "seconds_per_frame": seconds_per_frame(codec, size=size),
        "peak_memory": memory,
    }


def own_peak() -> dict[str, int]:
    """Peak bytes of this process, on the host and, where it is known, on its device."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    stats = jax.local_devices()[0].memory_stats() or {}
    return peak | ({"device": stats["peak_bytes_in_use"]} if "peak_bytes_in_use" in stats else {})


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    args = flags.FLAGS
    width, height = parse_size(args.size, "--size")
    stream(Codec.read(args.workdir, "--workdir"), args.frames, (height, width))
    print(json.dumps(own_peak()))


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "runs/autoencoder", "folder of an autoencoder's run")
    flags.DEFINE_integer("frames", 200, "how many are streamed")
    flags.DEFINE_string("size", "256x256", "width and height of a frame in pixels")
    run_command(main)
