import base64
import json
from html.parser import HTMLParser

import av
import numpy as np
import pytest

from videodit.config import ConfigError
from videodit.eval import charts, demo_page


class Page(HTMLParser):
    """Text, video sources and the dots of the charts, in order."""

    def __init__(self, text: str):
        super().__init__()
        self.text, self.videos, self.dots, self.bars, self.links = [], [], [], 0, []
        self.feed(text)
        self.text = " ".join(self.text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [attributes[key] for key in ("src", "href") if key in attributes]
        if tag == "video":
            assert {"autoplay", "loop", "muted", "playsinline"} <= attributes.keys()
            self.videos.append(base64.b64decode(attributes["src"].split(",")[1]))
        if tag == "circle":
            self.dots.append((float(attributes["cx"]), float(attributes["cy"])))
        self.bars += tag == "path" and "stroke" in attributes

    def handle_data(self, data):
        self.text.append(data)


def write_lines(file, lines):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def clip(file, height, width, color):
    """A real mp4 of one color."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), color, np.uint8))
        for _ in range(5):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture
def run(tmp_path):
    """A small finished run."""
    train = [
        {"step": step, "kind": "train", "loss": 1 / step, "padding": 0.0123, "step_seconds": 0.25}
        | {"tokens_per_second": 54321.0}
        for step in range(1, 101)
    ]
    write_lines(
        tmp_path / "autoencoder" / "metrics.jsonl",
        train
        + [
            {"step": 0, "kind": "eval", "loss": 0.9, "psnr": 24.5, "psnr_pca": 24.25},
            {"step": 100, "kind": "eval", "loss": 0.3, "psnr": 28.75, "psnr_pca": 24.25},
        ],
    )
    (tmp_path / "autoencoder" / "summary.json").write_text(
        '{"parameters": 1234567, "padding": 0.0123}'
    )
    caption_figures = {"caption_gain": 0.0125, "caption_gain_stderr": 0.0031}
    write_lines(
        tmp_path / "dit" / "metrics.jsonl",
        train
        + [
            {"step": 100, "kind": "eval", "loss": 0.6101, "loss_linear": 0.7302}
            | {"caption_accuracy": 0.6226, "caption_chance": 0.125}
            | caption_figures
        ],
    )
    draws = tmp_path / "autoencoder" / "draws" / "000100"
    clip(draws / "a.mp4", 56, 96, 10)
    clip(draws / "b.mp4", 56, 96, 20)
    items = [
        {"file": "a.mp4", "caption": "A <red> cat", "role": "original", "clip": "7"},
        {"file": "b.mp4", "caption": "A <red> cat", "role": "reconstruction", "clip": "7"},
    ]
    (draws / "index.json").write_text(json.dumps(items))
    request = {"prompt": "a blue sky", "size": "56x96", "frames": 17, "fps": 8, "seed": 0}
    write_lines(tmp_path / "requests.jsonl", [request | {"out": "x.mp4"}])
    clip(tmp_path / "samples" / "x.mp4", 96, 56, 30)
    stages = {"film": {"seconds": 61.0, "done": True}, "dit": {"seconds": 122.5, "done": False}}
    (tmp_path / "stages.json").write_text(json.dumps(stages))
    return tmp_path


def test_figures_on_the_page_come_from_the_run(run):
    page = Page(demo_page.page(run))
    for figure in (
        "28.75 dB",
        "PCA 24.25 dB",
        "0.6101",
        "best linear 0.7302",
        "0.0125",
        "± 0.0031, standard error over clips",
        "1.23M",  # parameters
        "54.3k tokens/s",
        "1.23 %",  # padding
        "250 ms",
        "2:02 (not finished)",
        "3:04",  # all stages
        "A <red> cat",
        "a blue sky",
        "56×96, 2.1 s",
        "Blender Foundation",
    ):
        assert figure in page.text
    assert "Missing" not in page.text.replace("Missing: " + str(run / "dit" / "draws"), "")


def test_the_page_holds_its_videos_and_needs_nothing_else(run):
    page = Page(demo_page.page(run))
    files = [
        run / "samples" / "x.mp4",
        run / "autoencoder" / "draws" / "000100" / "a.mp4",
        run / "autoencoder" / "draws" / "000100" / "b.mp4",
    ]
    assert page.videos == [file.read_bytes() for file in files]
    assert all(link.startswith("data:") for link in page.links)


def test_charts_have_a_dot_for_each_evaluation(run):
    page = Page(demo_page.page(run))
    # autoencoder psnr and loss (2 evaluations each), DiT loss and caption gain (1 each)
    assert len(page.dots) == 2 + 2 + 1 + 1
    assert page.dots[1][1] < page.dots[0][1]  # the PSNR rose
    assert page.bars == 1


def test_what_an_unfinished_run_lacks_is_named(tmp_path):
    text = Page(demo_page.page(tmp_path)).text
    for name in ("autoencoder/metrics.jsonl", "dit/draws", "requests.jsonl", "stages.json"):
        assert name in text


def test_a_missing_run_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        demo_page.page(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (0, 1000, [0, 200, 400, 600, 800, 1000]),
        (24.1, 28.9, [25, 26, 27, 28]),
        (-0.002, 0.011, [0, 0.005, 0.01]),
    ],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert charts.ticks(low, high) == pytest.approx(expected)


def test_a_chart_draws_only_what_can_be_drawn():
    nan = charts.Series("a", [(0, float("nan")), (1, 1.0), (2, -1.0)], "red", marked=True)
    assert charts.line_chart([nan], y_label="loss", log=True).count("<circle") == 1
    assert charts.line_chart([], y_label="loss") == ""
