"""Trains the classifiers of the stage's detector on clips that the stage makes.

    python -m tools.train_stage_detector --clips=4000

Writes videodit/worlds/stage/detector.npz. A few minutes; numpy only.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
from absl import app, flags

from videodit.config import ConfigError, check, refuse
from videodit.curation.processes import in_processes
from videodit.data.progress import Progress
from videodit.worlds.stage import detector
from videodit.worlds.world import COMBINATIONS, Shape, Slots, open_world

FILE = Path(detector.__file__).with_name(detector.WEIGHTS)
HIDDEN = {"kind": 48, "size": 24, "move": 48, "camera": 32}
EPOCHS, BATCH, RATE, DECAY, NOISE = 40, 64, 2e-3, 3e-2, 0.15
FIRST_SEED = 10_000_000  # far from the seeds of any corpus
FEWEST = 50  # clips; a tenth is left out to test on

Examples = dict[str, list[tuple[np.ndarray, str]]]


def train_detector(clips: int, workers: int = 0) -> dict[str, np.ndarray]:
    """The arrays of all classifiers, as the detector reads them, from this many new clips.

    `workers`: processes, 0 is one a core; they change nothing. Raises ConfigError.
    """
    check(clips >= FEWEST, "clips", clips, f"at least {FEWEST}")
    open_world("stage")  # fails early
    progress, found = Progress(clips, "clips"), {}
    for seed, one in in_processes(examples, range(FIRST_SEED, FIRST_SEED + clips), workers):
        found[seed] = one
        progress.advance()
    arrays = {}
    for name, hidden in HIDDEN.items():
        arrays |= trained(name, [found[seed][name] for seed in sorted(found)], hidden)
    return arrays


def random_shape(rng: np.random.Generator) -> Shape:
    """Sizes, aspects, lengths and rates as in a corpus."""
    side, aspect = np.exp(rng.uniform(np.log((32, 1 / 3)), np.log((160, 3))))
    width, height = (side, side / aspect) if aspect < 1 else (side * aspect, side)
    frames = 1 if rng.random() < 0.05 else rng.integers(5, 34)
    return Shape(int(width), int(height), int(frames), float(rng.choice([4, 6, 8, 12, 16, 24])))


def examples(seed: int) -> tuple[int, Examples]:
    """The seed of a clip, and what each classifier can learn from it: features and labels."""
    shape = random_shape(np.random.default_rng(seed))
    clip = open_world("stage").make(seed, shape, COMBINATIONS[seed % 2])
    return seed, clip_examples(clip.frames, clip.fps, clip.slots)


def clip_examples(frames: np.ndarray, fps: float, slots: Slots) -> Examples:
    """See examples."""
    found, flow = defaultdict(list), None
    tracks = detector.find_tracks(frames)
    if "camera" in slots:
        flow = detector.background_motion(frames, tracks)
        found["camera"].append((flow, _joined(slots, "camera", "camera.direction")))
    letters = {slots[f"{letter}.color"]: letter for letter in "abc" if f"{letter}.color" in slots}
    for track in tracks:
        letter = letters.get(track.color)
        if letter is None:
            continue
        forms = detector.form_features(frames, track)
        found["kind"].append((forms, slots[f"{letter}.kind"]))
        found["size"].append((forms, slots[f"{letter}.size"]))
        if f"{letter}.motion" in slots:
            move = _joined(slots, f"{letter}.motion", f"{letter}.direction").replace(
                "walk", "slide"
            )
            features = detector.move_features(track, flow, len(frames) / fps)
            found["move"].append((features, move))
    return dict(found) | {name: [] for name in HIDDEN if name not in found}


def trained(name: str, clips: list[list], hidden: int) -> dict[str, np.ndarray]:
    """The arrays of a classifier; prints its accuracy on the tenth of the clips left out."""
    labels = sorted({label for clip in clips for _, label in clip})
    held = len(clips) // 10
    test, train = (_arrays(part, labels) for part in (clips[:held], clips[held:]))
    layers = fit(*train, hidden, len(labels))
    wrong = apply(layers, test[0]).argmax(1) != test[1]
    print(f"{name}: {1 - wrong.mean():.3f} of {len(wrong)} right; trained on {len(train[1])}")
    arrays = {
        f"{name}.{i}.{part}": array.astype(np.float16 if part == "weight" else np.float32)
        for i, layer in enumerate(layers)
        for part, array in zip(("scale", "shift", "weight", "bias"), layer)
    }
    return arrays | {f"{name}.labels": np.array(labels)}


def fit(x: np.ndarray, y: np.ndarray, hidden: int, classes: int) -> list[list[np.ndarray]]:
    """One hidden layer, by Adam; features are brought to mean 0 and deviation 1, with noise."""
    rng = np.random.default_rng(0)
    shift, scale = x.mean(0), x.std(0) + 1e-3
    x = np.clip((x - shift) / scale, -5, 5)
    widths = [(x.shape[1], hidden), (hidden, classes)]
    params = [rng.standard_normal(width) / np.sqrt(width[0]) for width in widths]
    params += [np.zeros(width[1]) for width in widths]
    moments = [[np.zeros_like(p), np.zeros_like(p)] for p in params]
    steps = EPOCHS * len(x) // BATCH
    for step in range(steps):
        rows = rng.integers(len(x), size=BATCH)
        noisy = x[rows] + NOISE * rng.standard_normal((BATCH, x.shape[1]))
        for p, g, m in zip(params, gradients(params, noisy, y[rows]), moments):
            m[0] += 0.1 * (g - m[0])
            m[1] += 0.01 * (g**2 - m[1])
            rate = RATE * (1 - step / steps)
            fixed = [m[0] / (1 - 0.9 ** (step + 1)), m[1] / (1 - 0.99 ** (step + 1))]
            p -= rate * (fixed[0] / (np.sqrt(fixed[1]) + 1e-8) + DECAY * p * (p.ndim > 1))
    one, zero = np.ones(hidden), np.zeros(hidden)
    return [[scale, shift, params[0], params[2]], [one, zero, params[1], params[3]]]


def gradients(params: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Of the mean cross-entropy."""
    w1, w2, b1, b2 = params
    h = np.maximum(x @ w1 + b1, 0)
    p = _softmax(h @ w2 + b2)
    p[np.arange(len(y)), y] -= 1
    p /= len(y)
    dh = (p @ w2.T) * (h > 0)
    return [x.T @ dh, h.T @ p, dh.sum(0), p.sum(0)]


def apply(layers: list[list[np.ndarray]], x: np.ndarray) -> np.ndarray:
    """Scores: rows, classes."""
    (scale, shift, w1, b1), (_, _, w2, b2) = layers
    h = np.maximum(np.clip((x - shift) / scale, -5, 5) @ w1 + b1, 0)
    return h @ w2 + b2


def _softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _arrays(clips: list[list], labels: list[str]) -> tuple[np.ndarray, np.ndarray]:
    rows = [(row, labels.index(label)) for clip in clips for rows, label in clip for row in rows]
    return np.stack([row for row, _ in rows]), np.array([label for _, label in rows])


def _joined(slots: Slots, name: str, direction: str) -> str:
    return " ".join(slots[key] for key in (name, direction) if key in slots)


def main(argv: list[str]) -> None:
    """Runs the command line; a ConfigError is printed without a traceback, exit status 2."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    args = flags.FLAGS
    try:
        np.savez_compressed(FILE, **train_detector(args.clips, args.workers))
    except ConfigError as error:
        refuse(error)


if __name__ == "__main__":
    flags.DEFINE_integer("clips", 4000, "how many")
    flags.DEFINE_integer("workers", 0, "processes; 0 is one a core")
    app.run(main)
