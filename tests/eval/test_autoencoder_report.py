import json

import jax
import numpy as np
import pytest
from alike import AlikeSource
from packs import perturb, tiny_config

from videodit.checkpoint import write_run
from videodit.config import ConfigError
from videodit.curation.cuts import parse_shapes
from videodit.data.sources.source import open_tokenizer
from videodit.data.video.files import write_video
from videodit.eval import autoencoder_page, autoencoder_report
from videodit.eval.streaming import MEMORY_FRAMES
from videodit.inference.codec import Codec
from videodit.models.autoencoder import make_autoencoder


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """(folder, report) of a tiny untrained autoencoder on clips that are alike."""
    cfg = tiny_config("autoencoder")
    init, _ = make_autoencoder(cfg.autoencoder, cfg.compute)
    codec = Codec(cfg.autoencoder, cfg.compute, perturb(init(jax.random.key(0))))
    out = tmp_path_factory.mktemp("report")
    source, shapes = AlikeSource(), parse_shapes("32x32x5,32x32x9")
    sample = autoencoder_report.choose_sample(
        source, cfg.autoencoder.patch, clips=4, fit_clips=4, shapes=shapes, shape_clips=1
    )
    found = autoencoder_report.evaluate(codec, source, sample, out)
    about = {
        "workdir": "runs/tiny",
        "size": "smoke",
        "patch": cfg.autoencoder.patch,
        "channels": 16,
    }
    streaming = {"size": "64x64", "seconds_per_frame": {17: 0.01, 33: 0.012}}
    streaming["peak_memory"] = {n: {"host": (i + 4) << 20} for i, n in enumerate(MEMORY_FRAMES)}
    found |= {"autoencoder": about, "data": "synthetic", "streaming": streaming}
    autoencoder_report.write(out, found)
    return out, found


def test_a_report_counts_what_it_is_about(report):
    out, found = report
    written = json.loads((out / "report.json").read_text(), parse_constant=refuse)
    assert written["counts"] == found["counts"] and found["counts"]["fitted_clips"] == 4
    assert len(written["clips"]) == written["counts"]["clips"] == 4
    assert sum(clip["frames"] for clip in written["clips"]) == written["counts"]["frames"]
    assert sum(one["clips"] for one in written["bins"]) == 4
    assert sum(c["latent_values"] for c in written["clips"]) == written["counts"]["latent_values"]
    assert [one["shape"] for one in written["shapes"]] == ["32x32x5", "32x32x9"]


def test_a_report_names_the_features_it_measures_with(report):
    out, found = report
    page = (out / "report.html").read_text()
    assert (
        "not LPIPS" in found["features"]["perceptual"] and found["features"]["perceptual"] in page
    )
    assert (
        "untrained network" in found["features"]["frechet"] and found["features"]["frechet"] in page
    )


def test_a_page_shows_all_figures_and_needs_no_other_file(report):
    out, found = report
    page = (out / "report.html").read_text()
    for row in found["coders"].values():
        assert f"<td>{row['psnr']:.2f}</td>" in page and f"<td>{row['ssim']:.4f}</td>" in page
    for one in (*found["bins"], *found["shapes"]):
        assert one.get("bin", one.get("shape")) in page
    assert (
        "wall time" in page
        and "5 MiB" in page
        and "<td>1.250</td>" in page
        and "<td>12.00</td>" in page
    )
    assert page.count(' src="') == page.count(' src="data:') and "://" not in page
    assert page.count("<img") == len(found["pictures"]) == len(list(out.glob("*.png")))
    assert page.count("<video") == len(list(out.glob("*.mp4"))) > 0


def test_a_report_without_streaming_and_shapes_has_no_such_parts(report, tmp_path):
    out, found = report
    page = autoencoder_page.page(
        out, {k: v for k, v in found.items() if k not in ("streaming", "shapes", "seams")}
    )
    assert "Other shapes" not in page and "Streaming" not in page and "Tiles" not in page


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """The folder of an autoencoder's run that has not begun."""
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, tiny_config("autoencoder"), open_tokenizer("synthetic"))
    return str(folder)


def test_data_may_be_a_plain_folder_of_captioned_videos(untrained, tmp_path):
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", np.full((5, 16, 16, 3), 100, np.uint8), 8)
        (tmp_path / f"{name}.txt").write_text("a grey square")
    catalog = autoencoder_report.open_data(str(tmp_path), untrained).catalog
    assert len(catalog) == 2 and catalog.tokenizer == open_tokenizer(untrained).digest


def test_data_that_cannot_be_had_are_refused(untrained):
    with pytest.raises(ConfigError, match=r"^--data='/absent': no such folder"):
        autoencoder_report.open_data("/absent", untrained)
