"""What streaming through an autoencoder costs: memory, and time a frame.

    python -m videodit.eval.streaming --workdir=runs/autoencoder --frames=2000 --size=256x256

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
from absl import logging as absl_logging

from videodit.config import ConfigError, check, refuse
from videodit.inference.codec import Codec

FPS = 24.0
MEMORY_FRAMES = (200, 2000)
COST_FRAMES = (17, 33, 65, 129, 257, 513)
REPEATS = 3


def parse_frame_size(text: str, flag: str) -> tuple[int, int]:
    """Height and width of "WIDTHxHEIGHT". Raises ConfigError naming the flag."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    check(bool(match), flag, text, "WIDTHxHEIGHT, such as 256x256")
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
    """Wall time of encoding and decoding so many frames: the least of REPEATS turns.

    What else the machine does is in it. Processor time would leave that out, but also the work of
    an accelerator. Every turn takes all counts, so that a slow minute does not fall on one of them.
    """
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
    command = [sys.executable, "-m", "videodit.eval.streaming", f"--workdir={workdir}"]
    done = subprocess.run(
        [*command, f"--frames={frames}", f"--size={size}"], capture_output=True, text=True
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"]
        raise ConfigError(f"streaming {frames} frames: {said[-1].removeprefix('error: ')}")
    return json.loads(done.stdout.splitlines()[-1])


def memory_of_streaming(workdir: str, size: str) -> dict[int, dict[str, int]]:
    """In processes of their own, before this one takes the device. Raises ConfigError."""
    found = {}
    for frames in MEMORY_FRAMES:
        print(f"memory of streaming {frames} frames", flush=True)
        found[frames] = peak_memory(workdir, frames, size)
    return found


def measure_streaming(codec: Codec, size: tuple[int, int], memory: dict) -> dict:
    """Time a frame of (height, width) beside the memory that was measured before."""
    print("time of streaming", flush=True)
    return {
        "size": f"{size[1]}x{size[0]}",
        "seconds_per_frame": seconds_per_frame(codec, size=size),
        "peak_memory": memory,
    }


def own_peak() -> dict[str, int]:
    """The most memory in bytes that this process has had, of the host and of its device."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    stats = jax.local_devices()[0].memory_stats() or {}
    return peak | ({"device": stats["peak_bytes_in_use"]} if "peak_bytes_in_use" in stats else {})


def main(_) -> None:
    absl_logging.set_verbosity(absl_logging.WARNING)
    args = flags.FLAGS
    try:
        size = parse_frame_size(args.size, "--size")
        stream(Codec.read(args.workdir, "--workdir"), args.frames, size)
    except ConfigError as error:
        refuse(error)
    print(json.dumps(own_peak()))


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "runs/autoencoder", "folder of an autoencoder's run")
    flags.DEFINE_integer("frames", 200, "how many are streamed")
    flags.DEFINE_string("size", "256x256", "width and height of a frame in pixels")
    app.run(main)
