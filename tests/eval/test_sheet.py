import numpy as np

from videodit.eval.sheet import GAP, LINE, TITLE, draw

RED, GREEN, BLUE = np.eye(3, dtype=np.uint8) * 200


def clip(*colors, size=(16, 16)):
    """A frame of each color."""
    return np.stack([np.broadcast_to(color, (*size, 3)) for color in colors])


def test_clips_stand_in_rows_by_first_middle_and_last_frame():
    titled = ("title", [(clip(RED, RED, GREEN, BLUE, BLUE), "a caption"), (clip(RED), "")])
    plain = ("", [(clip(BLUE, BLUE), "")])
    pixels = np.asarray(draw([titled, plain], (40, 40)))
    first, second = GAP + TITLE, GAP + TITLE + 40 + GAP + LINE
    assert pixels.shape == (second + 40 + GAP, 2 * (3 * 40 + GAP) + GAP, 3)
    seen = lambda top, clip, frame: pixels[top + 20, GAP + clip * (120 + GAP) + frame * 40 + 20]
    found = [seen(first, 0, i) for i in range(3)] + [seen(first, 1, i) for i in range(3)]
    found += [seen(second, 0, i) for i in range(3)]
    np.testing.assert_array_equal(found, [RED, GREEN, BLUE, RED, RED, RED, BLUE, BLUE, BLUE])


def test_frames_keep_their_aspect_ratio():
    pixels = np.asarray(draw([("", [(clip(RED, size=(16, 32)), "")])], (40, 40)))
    box = pixels[GAP : GAP + 40, GAP : GAP + 40]
    red = (box == RED).all(-1)
    assert red[10:30].all() and not red[:10].any() and not red[30:].any()


def test_long_captions_are_wrapped_into_lines():
    short, long = (draw([("", [(clip(RED), "word " * n)])], (40, 40)).height for n in (1, 12))
    assert (long - short) % LINE == 0 and long > short
