"""What streaming through an autoencoder costs: memory, and time a frame.

    python -m tools.autoencoder_streaming --workdir=runs/autoencoder --frames=2000 --size=64x64

prints, as JSON, the most memory that a process which does nothing else has taken.
"""

import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import jax
import numpy as np
from absl import app, flags

from videodit.codec import Codec
from videodit.config import ConfigError, refuse

FPS = 24.0
MEMORY_FRAMES = (200, 2000)
COST_FRAMES = (17, 33, 65, 129, 257, 513)
REPEATS = 5


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of "WIDTHxHEIGHT". Raises ConfigError."""
    if not (match := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)):
        raise ConfigError(f"size: {text!r}: expected WIDTHxHEIGHT, such as 64x64")
    return int(match[2]), int(match[1])


def made_up_frames(count: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """A picture of noise that moves: made when it is asked for, H W 3 uint8."""
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for i in range(count):
        yield np.roll(picture, i, axis=1)


def stream(codec: Codec, count: int, size: tuple[int, int]) -> int:
    """Encodes and decodes so many frames, keeps none, returns how many came back."""
    latents = codec.encode_stream(made_up_frames(count, size), FPS)
    return sum(map(len, codec.decode_stream(latents, FPS)))


def seconds_per_frame(
    codec: Codec, counts=COST_FRAMES, size: tuple[int, int] = (64, 64)
) -> dict[int, float]:
    """Of encoding and decoding so many frames: the fastest of REPEATS turns over all counts."""
    stream(codec, min(counts), size)  # compiles
    times = {count: [] for count in counts}
    for _ in range(REPEATS):
        for count in counts:
            start = time.perf_counter()
            stream(codec, count, size)
            times[count].append((time.perf_counter() - start) / count)
    return {count: min(found) for count, found in times.items()}


def peak_memory(workdir: str, frames: int, size: str) -> dict[str, int]:
    """Bytes of a child process that streams so many frames. Raises ConfigError if it fails."""
    command = [sys.executable, "-m", "tools.autoencoder_streaming", f"--workdir={workdir}"]
    done = subprocess.run(
        [*command, f"--frames={frames}", f"--size={size}"], capture_output=True, text=True
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"]
        raise ConfigError(f"streaming {frames} frames: {said[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def own_peak() -> dict[str, int]:
    """The most memory in bytes that this process has had, of the host and of its device."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    stats = jax.local_devices()[0].memory_stats() or {}
    return peak | ({"device": stats["peak_bytes_in_use"]} if "peak_bytes_in_use" in stats else {})


def main(_) -> None:
    args = flags.FLAGS
    try:
        stream(Codec.read(args.workdir), args.frames, parse_size(args.size))
    except ConfigError as error:
        refuse(error)
    print(json.dumps(own_peak()))


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "runs/autoencoder", "folder of an autoencoder's run")
    flags.DEFINE_integer("frames", 200, "how many are streamed")
    flags.DEFINE_string("size", "64x64", "width and height of a frame in pixels")
    app.run(main)
