"""What tasks ask of the models that they use: codecs of latents, and text encoders.

Both may be our own or others'; a config chooses them by autoencoder.kind and text.kind
(models/registry.py). They hold no weights: parameters are arguments, plain nested dicts of arrays,
sharded on the current mesh.
"""

from typing import Literal, NamedTuple, Protocol

import jax
import numpy as np

from videodit.config import AutoencoderConfig, ComputeConfig, TextConfig
from videodit.data.packing import PackedBatch
from videodit.data.patches import Size
from videodit.data.tokenizer import Tokenizer
from videodit.digest import digest
from videodit.flops import Clips, StackRun
from videodit.nn.block import StackShape
from videodit.nn.segments import Segments
from videodit.parameters import Params

Method = Literal["encode", "decode"]


class Statistics(NamedTuple):
    """Mean and covariance of a codec's latents over training clips, before they are normalised."""

    mean: np.ndarray  # C
    covariance: np.ndarray  # C C


class CodecStream(Protocol):
    """One half of a codec over one clip, some latent frames at a time."""

    def step(self, values: np.ndarray) -> np.ndarray:
        """The next t latent frames, at most a chunk; the first call has one.

        An encoder takes patches t h w P uint8 and gives latents t h w C float32. A decoder takes
        latents and gives patches float32 in about [-1, 1]. The patch of the first latent frame
        holds one frame of the clip, repeated.
        """
        ...


class LatentCodec(Protocol):
    """Video to latents and back. Every latent cell stands for one patch of pixels, and the first
    latent frame for the first frame alone. Latents are causal in time by chunks of latent frames.
    """

    # Whether rows of packed patches can be encoded and decoded. A codec that needs whole clips
    # (of convolutions, say) is reached through stored latents, and decodes clip by clip.
    packed: bool = True
    patch: Size  # frames, height and width of a cell in pixels
    channels: int  # C, values of a latent cell

    def __init__(self, cfg: AutoencoderConfig, compute: ComputeConfig) -> None:
        """`cfg`: as `resolve` gives it. Raises ConfigError for an impossible one."""

    @staticmethod
    def resolve(cfg: AutoencoderConfig) -> AutoencoderConfig:
        """`cfg` with the patch, channels and chunk of the weights in cfg.workdir.

        Raises ConfigError naming autoencoder.workdir if it holds none.
        """
        return cfg

    @staticmethod
    def shapes(cfg: AutoencoderConfig) -> tuple[StackShape, ...]:
        """The shapes of its stacks: meshes share out their widths and heads."""
        return ()

    def init(self, key: jax.Array) -> Params:
        """Random float32 parameters, created sharded."""
        ...

    def read(self) -> Params:
        """The trained parameters in cfg.workdir, as `init` has them. Raises ConfigError."""
        ...

    def statistics(self) -> Statistics:
        """The statistics of the trained latents. Raises ConfigError naming autoencoder.workdir."""
        ...

    def spread(self, params: Params) -> np.ndarray:
        """Scale in pixels of one unit of each latent channel: C, in any common unit.

        With flow.latent_power above 0 a diffusion model weighs the channels by it. A codec that
        whitens its latents returns what it divided them by; others return ones.
        """
        return np.ones(self.channels, np.float32)

    def digest(self, params: Params) -> str:
        """A digest of the parameters that determine the latents; decoders may differ."""
        return digest(params)

    def encode(self, params: Params, batch: PackedBatch, segment_ids: jax.Array) -> jax.Array:
        """Latents B L C float32 of the batch's patches (uint8). Only packed codecs have it.

        segment_ids: B L int32; patches of different segments do not see each other, and 0 is
        padding.
        """
        raise TypeError(f"{type(self).__name__} encodes only whole clips")

    def decode(self, params: Params, latents: jax.Array, batch: PackedBatch) -> jax.Array:
        """Pixels B L P float32 in about [-1, 1] of latents B L C at the batch's tokens.

        Only packed codecs have it.
        """
        raise TypeError(f"{type(self).__name__} decodes only whole clips")

    def stream(
        self, params: Params, method: Method, grid: tuple[int, int], fps: float
    ) -> CodecStream:
        """One half of the codec over a clip with frames of `grid` (height, width) cells."""
        ...

    def stacks(self, clips: Clips, remat: str) -> list[StackRun]:
        """The stacks that encoding `clips` runs, for their FLOPs."""
        return []


class TextEncoder(Protocol):
    """Captions to vectors that a DiT attends to."""

    trained: bool = True  # together with the DiT; else its parameters are frozen, and `read`
    tokenizer: Tokenizer  # its `count` gives the token counts of captions
    width: int  # E, values of a vector: a multiple of models/dit.py:POOL_HEADS

    def __init__(self, cfg: TextConfig, tokenizer: Tokenizer, compute: ComputeConfig) -> None:
        """`cfg`: as `resolve` gives it. Raises ConfigError for an impossible one."""

    @staticmethod
    def resolve(cfg: TextConfig) -> TextConfig:
        """`cfg` with the fields that the files in cfg.workdir decide. Raises ConfigError."""
        return cfg

    @staticmethod
    def shapes(cfg: TextConfig) -> tuple[StackShape, ...]:
        """The shapes of its stacks: meshes share out their widths and heads."""
        return ()

    def init(self, key: jax.Array) -> Params:
        """Random float32 parameters, created sharded."""
        ...

    def read(self) -> Params:
        """The frozen parameters in cfg.workdir, as `init` has them; {} if they are trained.

        Raises ConfigError if there are none.
        """
        return {}

    def encode(
        self, params: Params, ids: jax.Array, positions: jax.Array, segments: Segments
    ) -> jax.Array:
        """Vectors B S E, in the compute dtype, of packed captions: ids and positions B S int32."""
        ...

    def digest(self, params: Params) -> str:
        """A digest of what the trained weights depend on: the tokenizer and frozen parameters.

        params: the frozen parameters; {} if it is trained.
        """
        return f"{self.tokenizer.digest}-{digest(params)}" if params else self.tokenizer.digest

    def stacks(self, text: np.ndarray, remat: str) -> list[StackRun]:
        """The stacks that encoding captions of `text` (n) tokens runs, for their FLOPs."""
        return []
