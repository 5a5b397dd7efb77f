"""Trains the classifiers of the stage's detector on clips that the stage makes.

    python -m tools.train_stage_detector --clips=4000

It writes videodit/worlds/stage/detector.npz. It takes a few minutes and uses numpy only.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
from absl import flags

from videodit.config import check
from videodit.curation.processes import in_processes
from videodit.data.progress import Progress
from videodit.entry import run_command
from videodit.worlds.stage import detector
from videodit.worlds.stage.facts import LETTERS
from videodit.worlds.world import COMBINATIONS, Shape, Slots, open_world

FILE = Path(detector.__file__).with_name(detector.WEIGHTS)
# Hidden units of each classifier.
HIDDEN = {"kind": 48, "size": 24, "move": 48, "camera": 32}
EPOCHS, BATCH, RATE, DECAY = 40, 64, 2e-3, 3e-2
NOISE = 0.15  # std of the noise that is added to normalised features
FIRST_SEED = 10_000_000
FEWEST = 50  # clips; a tenth of them is held out for testing

# For each classifier: (features, float (rows, features); label).
Examples = dict[str, list[tuple[np.ndarray, str]]]


def train_detector(clips: int, workers: int = 0) -> dict[str, np.ndarray]:
    """Trains all classifiers on so many new clips; returns the arrays that the detector reads.

    `workers`: number of processes, 0 starts one for each core; the result does not depend on it.
    Raises ConfigError for too few clips, and if the stage's simulator is not installed.
    """
    check(clips >= FEWEST, "clips", clips, f"at least {FEWEST}")
    open_world("stage")  # raises an error before any process starts
    progress, found = Progress(clips, "clips"), {}
    for seed, one in in_processes(examples, range(FIRST_SEED, FIRST_SEED + clips), workers):
        found[seed] = one
        progress.advance()
    arrays: dict[str, np.ndarray] = {}
    for name, hidden in HIDDEN.items():
        arrays |= trained(name, [found[seed][name] for seed in sorted(found)], hidden)
    return arrays


def random_shape(rng: np.random.Generator) -> Shape:
    """A random size, length and rate like those of datasets."""
    side, aspect = np.exp(rng.uniform(np.log((32, 1 / 3)), np.log((160, 3))))
    width, height = (side, side / aspect) if aspect < 1 else (side * aspect, side)
    frames = 1 if rng.random() < 0.05 else rng.integers(5, 34)
    return Shape(int(width), int(height), int(frames), float(rng.choice([4, 6, 8, 12, 16, 24])))


def examples(seed: int) -> tuple[int, Examples]:
    """The seed, and what each classifier can learn from the clip with this seed."""
    shape = random_shape(np.random.default_rng(seed))
    clip = open_world("stage").make(seed, shape, COMBINATIONS[seed % 2])
    return seed, clip_examples(clip.frames, clip.fps, clip.slots)


def clip_examples(frames: np.ndarray, fps: float, slots: Slots) -> Examples:
    """What each classifier can learn from a clip: frames (uint8 T H W 3), fps and true slots."""
    found, flow = defaultdict(list), None
    tracks = detector.find_tracks(frames)
    if "camera" in slots:
        flow = detector.background_motion(frames, tracks)
        found["camera"].append((flow, _joined(slots, "camera", "camera.direction")))
    letters = {slots[f"{letter}.color"]: letter for letter in LETTERS if f"{letter}.color" in slots}
    for track in tracks:
        letter = letters.get(track.color)
        if letter is None:
            continue
        forms = detector.form_features(frames, track)
        found["kind"].append((forms, slots[f"{letter}.kind"]))
        found["size"].append((forms, slots[f"{letter}.size"]))
        if flow is not None and f"{letter}.motion" in slots:
            move = _joined(slots, f"{letter}.motion", f"{letter}.direction").replace(
                "walk", "slide"
            )
            features = detector.move_features(track, flow, len(frames) / fps)
            found["move"].append((features, move))
    return dict(found) | {name: [] for name in HIDDEN if name not in found}


def trained(
    name: str, clips: list[list[tuple[np.ndarray, str]]], hidden: int
) -> dict[str, np.ndarray]:
    """Trains a classifier and prints its accuracy on held-out clips; returns its arrays.

    `clips`: the examples of each clip. `hidden`: hidden units.
    """
    labels = sorted({label for clip in clips for _, label in clip})
    held = len(clips) // 10
    test, train = (_arrays(part, labels) for part in (clips[:held], clips[held:]))
    layers = fit(*train, hidden, len(labels))
    wrong = apply(layers, test[0]).argmax(1) != test[1]
    print(f"{name}: {1 - wrong.mean():.3f} of {len(wrong)} right; trained on {len(train[1])}")
    arrays = {
        f"{name}.{i}.{part}": array.astype(np.float16 if part == "weight" else np.float32)
        for i, layer in enumerate(layers)
        for part, array in zip(detector.PARTS, layer)
    }
    return arrays | {f"{name}.labels": np.array(labels)}


def fit(x: np.ndarray, y: np.ndarray, hidden: int, classes: int) -> list[list[np.ndarray]]:
    """The layers of a classifier with one hidden layer: [scale, shift, weight, bias] each.

    `x`: float (rows, features), normalised to mean 0 and std 1, with noise added in training.
    `y`: int (rows), classes. The optimizer is Adam with decoupled weight decay and a learning rate
    that falls to 0.
    """
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
    """The gradients of the mean cross-entropy with respect to params: two weights, two biases."""
    w1, w2, b1, b2 = params
    h = np.maximum(x @ w1 + b1, 0)
    p = _softmax(h @ w2 + b2)
    p[np.arange(len(y)), y] -= 1
    p /= len(y)
    dh = (p @ w2.T) * (h > 0)
    return [x.T @ dh, h.T @ p, dh.sum(0), p.sum(0)]


def apply(layers: list[list[np.ndarray]], x: np.ndarray) -> np.ndarray:
    """The logits of a classifier: float (rows, classes)."""
    (scale, shift, w1, b1), (_, _, w2, b2) = layers
    h = np.maximum(np.clip((x - shift) / scale, -5, 5) @ w1 + b1, 0)
    return h @ w2 + b2


def _softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _arrays(
    clips: list[list[tuple[np.ndarray, str]]], labels: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Examples as features (rows, features) and classes (rows): indices of labels."""
    rows = [(row, labels.index(label)) for clip in clips for rows, label in clip for row in rows]
    return np.stack([row for row, _ in rows]), np.array([label for _, label in rows])


def _joined(slots: Slots, name: str, direction: str) -> str:
    """A motion and its direction, if it has one, as one label."""
    return " ".join(slots[key] for key in (name, direction) if key in slots)


def main(_: list[str]) -> None:
    """Runs the command line. Raises ConfigError."""
    args = flags.FLAGS
    arrays = train_detector(args.clips, args.workers)
    np.savez_compressed(FILE, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    flags.DEFINE_integer("clips", 4000, "number of clips")
    flags.DEFINE_integer("workers", 0, "number of processes; 0: one for each core")
    run_command(main)
