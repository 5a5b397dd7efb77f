"""PQ and HLG come out as the formulas of ITU-R BT.2100 and BT.2408 say, through files."""

import io
import math

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videodit.data.video import tone
from videodit.data.video.files import View, read_clip, read_frames

PQ, HLG = 16, 18
TO_BT2020 = np.array(  # ITU-R BT.2087, table 4
    [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
)


def pq(light):
    """The PQ signal of light in cd/m2 (BT.2100, table 4)."""
    y = (light / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def hlg(light):
    """The HLG signals of light ... 3 (RGB) on a display of 1000 cd/m2 (BT.2100, table 5)."""
    display = np.asarray(light) / 1000
    luminance = display @ [0.2627, 0.6780, 0.0593]
    scene = display * np.maximum(luminance, 1e-9)[..., None] ** (1 / 1.2 - 1)
    low = np.sqrt(3 * scene)
    return np.where(
        scene <= 1 / 12,
        low,
        0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073,
    )


def level(light):
    """The 8-bit level of grey light: EETF from 1000 to 203 cd/m2 (BT.2408, annex 5), BT.1886."""
    e, most = pq(light) / pq(1000), pq(203) / pq(1000)
    knee = 1.5 * most - 0.5
    if e > knee:
        t = (e - knee) / (1 - knee)
        e = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee)
        e += (-2 * t**3 + 3 * t**2) * most
    z = (e * pq(1000)) ** (1 / 78.84375)
    mapped = 10000 * (max(z - 0.8359375, 0) / (18.8515625 - 18.6875 * z)) ** (1 / 0.1593017578125)
    return 255 * (mapped / 203) ** (1 / 2.4)


def film(signal, curve, tagged=True):
    """A video of a plain colour: RGB signals in BT.2020, 0..1, as 10 bits in YCbCr."""
    red, green, blue = signal
    luma = 0.2627 * red + 0.6780 * green + 0.0593 * blue
    values = 64 + 876 * luma, 512 + 896 * (blue - luma) / 1.8814, 512 + 896 * (red - luma) / 1.4746
    planes = [np.full((rows, 32), round(v), np.uint16) for rows, v in zip((32, 8, 8), values)]
    picture = np.concatenate(planes)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p10le"
        codec = stream.codec_context
        codec.color_trc, codec.color_primaries, codec.color_range = curve, 9, 1
        codec.colorspace = 9 if tagged else 2
        for _ in range(2):
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p10le")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


@pytest.mark.parametrize("light", [1, 20, 90, 203, 500, 1000])
@pytest.mark.parametrize("curve", [PQ, HLG])
def test_grey_light_has_the_level_of_the_standards(light, curve):
    signal = np.full(3, pq(light)) if curve == PQ else hlg(np.full(3, float(light)))
    found = read_frames(film(signal, curve))
    assert found.shape == (2, 32, 32, 3)
    assert np.abs(found - level(light)).max() <= 3  # 33 nodes are off by 2, and rounding


@settings(max_examples=20)
@given(light=st.floats(0.5, 1000), curve=st.sampled_from([PQ, HLG]))
def test_any_grey_light_has_the_level_of_the_standards(light, curve):
    signal = np.full(3, pq(light)) if curve == PQ else hlg(np.full(3, light))
    assert np.abs(read_frames(film(signal, curve)) - level(light)).max() <= 3


@settings(max_examples=20)
@given(
    colour=st.tuples(*[st.floats(0.15, 1.0)] * 3),
    light=st.floats(5, 80),
    curve=st.sampled_from([PQ, HLG]),
)
def test_any_colour_of_bt709_comes_back(colour, light, curve):
    """Light below the knee stays as it is."""
    light = np.array(colour) * light
    wide = TO_BT2020 @ light
    found = read_frames(film(pq(wide) if curve == PQ else hlg(wide), curve))
    assert np.abs(found.mean((0, 1, 2)) - 255 * (light / 203) ** (1 / 2.4)).max() <= 9


def test_reference_white_is_bright():
    """58 % PQ and 75 % HLG are 203 cd/m2 (BT.2408, table 1). Taken for BT.709 they are 148, 191."""
    assert level(203) == pytest.approx(230.3, abs=0.2)
    for signal, curve in ((0.5807, PQ), (0.75, HLG)):
        assert np.abs(read_frames(film([signal] * 3, curve)) - 230.3).max() <= 2
    assert read_frames(film([1.0] * 3, PQ)).min() >= 254  # 10,000 cd/m2


@pytest.mark.parametrize(
    "colour", [(1, 0.15, 0.15), (0.15, 1, 0.15), (0.15, 0.15, 1), (0.8, 0.3, 0.1)]
)
@pytest.mark.parametrize("curve", [PQ, HLG])
@pytest.mark.parametrize("tagged", [True, False])
def test_colours_of_bt709_come_back(colour, curve, tagged):
    """Light of 60 cd/m2 is below the knee and stays as it is."""
    light = np.array(colour) * 60.0
    wide = TO_BT2020 @ light
    signal = pq(wide) if curve == PQ else hlg(wide)
    found = read_clip(film(signal, curve, tagged), View(0, 1, 2, 16, 16), 24)
    expected = 255 * (light / 203) ** (1 / 2.4)
    assert np.abs(found.mean((0, 1, 2)) - expected).max() <= 8  # 33 nodes


def test_other_curves_stay_as_they_are():
    grey = read_frames(film([0.5807] * 3, 1))
    assert np.abs(grey - 148).max() <= 1


def test_the_roll_off_is_monotone_and_keeps_what_is_dark():
    light = np.linspace(0, 2000, 5000)
    found = tone.roll_off(light)
    assert (np.diff(found) >= -1e-9).all() and found.max() == pytest.approx(tone.WHITE)
    np.testing.assert_allclose(found[light < 85], light[light < 85], rtol=1e-6, atol=1e-6)
    assert math.isclose(tone.pq_light(tone.pq_signal(np.array(203.0))), 203, rel_tol=1e-9)
