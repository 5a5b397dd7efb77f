"""What can be configured of the models that tasks are made of."""

import math
from dataclasses import dataclass

from videodit.config.errors import check, check_positive

RANDOM = "random"  # value of autoencoder.workdir: an untrained autoencoder, for smoke runs


@dataclass(frozen=True)
class AutoencoderConfig:
    """The video autoencoder. `size` is a row of models/autoencoder.py:SIZES."""

    kind: str = "videodit"  # our own, or another of models/registry.py:CODECS
    workdir: str = ""  # a trained autoencoder for the DiT to run on, or "random"
    size: str = "S"
    patch: tuple[int, int, int] = (4, 8, 8)  # frames, height, width of a latent cell in pixels
    channels: int = 16  # values of a latent cell
    chunk: int = 2  # latent frames of a chunk; a token sees its own chunk and the one before
    window: int = 16  # frames of more than window^2 cells are attended to in windows of this side
    pca_batches: int = 8  # batches that the linear path is fitted to before step 1; 0: random

    def __post_init__(self) -> None:
        check_positive(self, "autoencoder", ("channels", "chunk", "window"))
        right = len(self.patch) == 3 and min(self.patch) >= 1
        check(right, "autoencoder.patch", self.patch, "frames, height and width, at least 1 each")
        most = 3 * math.prod(self.patch)
        check(most <= 2**24, "autoencoder.patch", self.patch, "at most 2^24 numbers in a patch")
        expected = f"at most the {most} numbers of a patch"
        check(self.channels <= most, "autoencoder.channels", self.channels, expected)
        check(self.pca_batches >= 0, "autoencoder.pca_batches", self.pca_batches, "0 or more")


@dataclass(frozen=True)
class TextConfig:
    """The text encoder. `size`: models/text.py:SIZES."""

    kind: str = "videodit"  # ours, trained with the DiT; or one of models/registry.py:TEXT_ENCODERS
    workdir: str = ""  # folder with tokenizer.model (tools/curate.py makes it), or "synthetic"
    size: str = "S"


@dataclass(frozen=True)
class DiTConfig:
    """The diffusion transformer. `size` is a row of models/dit.py:SIZES."""

    size: str = "S"
    modulation: str = "block"  # adaLN table of each "block", or one "shared" plus block offsets
    # Scale of the tables' initial weights. With 0 (adaLN-zero) all blocks begin as the identity.
    initial_modulation: float = 0.0
    # Whether tokens are told where in their clip they are. Rotary positions are relative: with them
    # alone a token of noise cannot know whether it is at the top.
    places: bool = True

    def __post_init__(self) -> None:
        known = self.modulation in ("block", "shared")
        check(known, "dit.modulation", self.modulation, "'block' or 'shared'")
        good = 0 <= self.initial_modulation < math.inf
        check(good, "dit.initial_modulation", self.initial_modulation, "0 or more")
