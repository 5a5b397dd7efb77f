"""What a user asks of a pipeline: a clip to be made from a prompt and from pixels that are given.

The modes are those that a run trains (data/planning/given.py). Each has a constructor here:

  Request("A fox in the snow.", width=96, height=56, frames=17)     text to video
  Request.animate("The fox runs.", image, frames=17)                image to video
  Request.extend("The fox runs on.", video, frames=33)              goes on where the video ends
  Request.prepend("The fox wakes up.", video, frames=33)            ends where the video begins
  Request.connect("The fox jumps.", first, last, frames=33)         from one clip to another
  Request.inpaint("The fox is white.", video, mask)                 fills what the mask leaves out
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from videodit.config import SampleConfig, check, check_fps, parse_size

SEEDS = 2**32


@dataclass(frozen=True, eq=False)
class Given:
    """Pixels of a clip that are known. Raises ConfigError for arrays of another kind.

    Only latent cells that are given as a whole are kept (inference/packing.py:given_cells).
    """

    frames: np.ndarray  # T H W 3 uint8, as large as the clip; what is not given may be anything
    mask: np.ndarray  # bool, T or T H W: True where the clip is given

    def __post_init__(self) -> None:
        frames, mask = self.frames, self.mask
        clip = isinstance(frames, np.ndarray) and frames.ndim == 4 and frames.shape[3] == 3
        good = clip and frames.dtype == np.uint8
        check(good, "given.frames", _kind(frames), "an array uint8 (frames, height, width, 3)")
        shapes = frames.shape[:1], frames.shape[:3]
        good = isinstance(mask, np.ndarray) and mask.dtype == bool and mask.shape in shapes
        check(good, "given.mask", _kind(mask), f"an array bool {shapes[0]} or {shapes[1]}")
        check(bool(mask.any()), "given.mask", "all False", "something to be given")
        check(not mask.all(), "given.mask", "all True", "something left to be generated")


@dataclass(frozen=True, eq=False)
class Request:
    """A clip to be made. The same request gives the same clip, whatever it is packed with.

    Raises ConfigError naming a field that has a bad value.
    """

    prompt: str
    width: int = 64  # pixels; any number of them
    height: int = 64
    frames: int = 17
    fps: float = 12.0
    seed: int = 0
    given: Given | None = None

    def __post_init__(self) -> None:
        text = isinstance(self.prompt, str) and bool(self.prompt.strip())
        check(text, "prompt", self.prompt, "a description of the clip, not empty")
        for name in ("width", "height", "frames"):
            value = getattr(self, name)
            check(_is_whole(value) and value >= 1, name, value, "a whole number, at least 1")
        number = isinstance(self.fps, int | float | np.number) and not isinstance(self.fps, bool)
        check(number, "fps", self.fps, "a number")
        check_fps(self.fps)
        good = _is_whole(self.seed) and 0 <= self.seed < SEEDS
        check(good, "seed", self.seed, "a whole number from 0 to 2**32 - 1")
        check(isinstance(self.given, Given | None), "given", _kind(self.given), "Given or None")
        if self.given is not None:
            size, found = (self.frames, self.height, self.width), self.given.frames.shape[:3]
            expected = f"(frames, height, width) = {size}, as the request says"
            check(found == size, "given.frames", found, expected)

    @classmethod
    def animate(cls, prompt: str, image: np.ndarray, frames: int, **fields: Any) -> "Request":
        """A clip of `frames` frames whose first frame is `image`: H W 3 uint8.

        `fields` are fps and seed, here and in the other modes. Every mode raises ConfigError.
        """
        return cls.extend(prompt, np.asarray(image)[None], frames, **fields)

    @classmethod
    def extend(cls, prompt: str, video: np.ndarray, frames: int, **fields: Any) -> "Request":
        """A clip of `frames` frames that begins with `video`: T H W 3 uint8."""
        return cls.connect(prompt, video, video[:0], frames, **fields)

    @classmethod
    def prepend(cls, prompt: str, video: np.ndarray, frames: int, **fields: Any) -> "Request":
        """A clip of `frames` frames that ends with `video`: T H W 3 uint8."""
        return cls.connect(prompt, video[:0], video, frames, **fields)

    @classmethod
    def connect(
        cls, prompt: str, first: np.ndarray, last: np.ndarray, frames: int, **fields: Any
    ) -> "Request":
        """A clip of `frames` frames that begins with `first` and ends with `last`: T H W 3 uint8.

        `last` needs as many frames as a latent frame has.
        """
        for name, part in (("first", first), ("last", last)):
            good = isinstance(part, np.ndarray) and part.ndim == 4
            check(good, name, _kind(part), "an array uint8 (frames, height, width, 3)")
        good = first.shape[1:] == last.shape[1:] and first.dtype == last.dtype
        check(good, "last", _kind(last), f"frames as in first={_kind(first)!r}")
        count = len(first) + len(last)
        good = _is_whole(frames) and frames > count
        check(good, "frames", frames, f"a whole number above the {count} frames that are given")
        between = np.zeros((frames - count, *first.shape[1:]), first.dtype)
        mask = np.repeat([True, False, True], [len(first), len(between), len(last)])
        given = Given(np.concatenate([first, between, last]), mask)
        return cls._around(prompt, given, fields)

    @classmethod
    def inpaint(cls, prompt: str, video: np.ndarray, mask: np.ndarray, **fields: Any) -> "Request":
        """The clip `video` (T H W 3 uint8), generated anew where `mask` (bool T H W) is False."""
        return cls._around(prompt, Given(video, mask), fields)

    @classmethod
    def _around(cls, prompt: str, given: Given, fields: dict[str, Any]) -> "Request":
        """A request for a clip as large as what is given."""
        frames, height, width, _ = given.frames.shape
        return cls(prompt, width, height, frames, given=given, **fields)


def configured_requests(cfg: SampleConfig) -> list[Request]:
    """The clips that a run draws at each evaluation: its prompts, seeded 0, 1, ...

    Raises ConfigError naming a field with a bad value.
    """
    width, height = parse_size(cfg.size)
    return [
        Request(prompt, width, height, cfg.frames, cfg.fps, seed)
        for seed, prompt in enumerate(cfg.prompts)
    ]


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _kind(value: object) -> str:
    """What an argument is, for messages: "uint8 (17, 56, 96, 3)" or the name of its type."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return type(value).__name__
