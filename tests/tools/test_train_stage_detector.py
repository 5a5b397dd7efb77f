import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from simulators import needs_libx11

from tools import train_stage_detector as tool
from videodit.worlds.stage import detector
from videodit.worlds.world import Shape, open_world

# Both features of a row must be known to tell its class.
CORNERS = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
CLASSES = np.array([0, 1, 1, 0])
SHAPE = Shape(48, 48, 9, 8.0)


def crosswise(count, seed):
    """Rows close to CORNERS, after a scale and a shift, and their classes."""
    rng = np.random.default_rng(seed)
    which = rng.integers(4, size=count)
    rows = CORNERS[which] + 0.1 * rng.standard_normal((count, 2))
    return rows * (1, 50) + (0, 1000), CLASSES[which]


def test_what_no_line_parts_is_learnt():
    layers = tool.fit(*crosswise(4000, 0), hidden=16, classes=2)
    rows, classes = crosswise(200, 1)
    assert (tool.apply(layers, rows).argmax(1) == classes).mean() > 0.98


def test_gradients_are_those_of_small_steps():
    rng = np.random.default_rng(0)
    params = [rng.standard_normal(shape) for shape in ((3, 5), (5, 4), (5,), (4,))]
    x, y = rng.standard_normal((7, 3)), rng.integers(4, size=7)

    def loss():
        w1, w2, b1, b2 = params
        scores = np.maximum(x @ w1 + b1, 0) @ w2 + b2
        return (np.log(np.exp(scores).sum(1)) - scores[np.arange(7), y]).mean()

    for param, gradient in zip(params, tool.gradients(params, x, y)):
        where, step = (0,) * param.ndim, 1e-5
        param[where] += step
        more = loss()
        param[where] -= 2 * step
        less = loss()
        param[where] += step
        assert gradient[where] == pytest.approx((more - less) / (2 * step), abs=1e-6)


def test_the_detector_says_what_was_trained(tmp_path, monkeypatch):
    """The written file is what it reads; sure and right about rows that are easy to tell."""
    rows, classes = crosswise(4000, 2)
    clips = [[(row[None], ("odd", "even")[k])] for row, k in zip(rows, classes)]
    np.savez_compressed(tmp_path / "some.npz", **tool.trained("kind", clips, hidden=16))
    monkeypatch.setattr(detector, "WEIGHTS", str(tmp_path / "some.npz"))
    detector._classifier.cache_clear()
    try:
        for corner, k in zip(CORNERS * (1, 50) + (0, 1000), CLASSES):
            said = detector._told("kind", corner[None].astype(float))
            assert said.value == ("odd", "even")[k] and said.confidence > 0.9
    finally:
        detector._classifier.cache_clear()


def test_wrong_flags_are_one_line():
    command = [sys.executable, "-m", "tools.train_stage_detector", "--clips=5"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr == "error: --clips=5: expected at least 50\n"


@pytest.fixture(scope="module")
def trained():
    """Classifiers trained on few and small clips."""
    pytest.importorskip("panda3d")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool, "random_shape", lambda rng: SHAPE)
        patch.setattr(tool, "FEWEST", 30)
        patch.setattr(tool, "EPOCHS", 20)
        return tool.train_detector(30, workers=1)


@needs_libx11
def test_examples_have_the_features_and_labels_of_the_shipped_classifiers(trained):
    shipped = np.load(tool.FILE)
    assert set(trained) == set(shipped.files)
    for name in tool.HIDDEN:
        assert set(trained[f"{name}.labels"]) <= set(shipped[f"{name}.labels"])
        for part in ("scale", "shift", "weight"):
            assert trained[f"{name}.0.{part}"].shape == shipped[f"{name}.0.{part}"].shape


@needs_libx11
def test_a_few_clips_teach_to_tell_kinds(trained, tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "few.npz", **trained)
    monkeypatch.setattr(detector, "WEIGHTS", str(tmp_path / "few.npz"))
    detector._classifier.cache_clear()
    try:
        right = []
        for seed in range(10):
            clip = open_world("stage").make(seed, SHAPE)
            said = detector.detect(clip.frames, clip.fps)
            right.append("a.kind" in said and said["a.kind"].value == clip.slots["a.kind"])
        assert np.mean(right) > 0.7
    finally:
        detector._classifier.cache_clear()
