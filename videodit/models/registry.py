"""Codecs and text encoders by name: `autoencoder.kind` and `text.kind` of a config.

A further one is a file with a class and a call. A file in configs/ imports it:

    register_codec("toy", ToyCodec)
"""

from typing import TypeVar

from videodit.config import AutoencoderConfig, ComputeConfig, TextConfig, check
from videodit.data.tokenizer import Tokenizer
from videodit.models.codec import AutoencoderCodec
from videodit.models.protocols import LatentCodec, TextEncoder
from videodit.models.text import JointTextEncoder

CODECS: dict[str, type[LatentCodec]] = {}
TEXT_ENCODERS: dict[str, type[TextEncoder]] = {}

Kind = TypeVar("Kind")


def register_codec(name: str, codec: type[LatentCodec]) -> None:
    """From now on autoencoder.kind may be `name`. Raises ValueError for a name that is taken."""
    _register(CODECS, name, codec)


def register_text_encoder(name: str, encoder: type[TextEncoder]) -> None:
    """From now on text.kind may be `name`. Raises ValueError for a name that is taken."""
    _register(TEXT_ENCODERS, name, encoder)


def codec_class(cfg: AutoencoderConfig) -> type[LatentCodec]:
    """The codec of cfg.kind. Raises ConfigError for an unknown one."""
    return _find(CODECS, "autoencoder.kind", cfg.kind)


def text_encoder_class(cfg: TextConfig) -> type[TextEncoder]:
    """The text encoder of cfg.kind. Raises ConfigError for an unknown one."""
    return _find(TEXT_ENCODERS, "text.kind", cfg.kind)


def make_codec(cfg: AutoencoderConfig, compute: ComputeConfig) -> LatentCodec:
    """The configured codec; `cfg`: as `codec_class(cfg).resolve(cfg)` gives it."""
    return codec_class(cfg)(cfg, compute)


def make_text_encoder(cfg: TextConfig, tokenizer: Tokenizer, compute: ComputeConfig) -> TextEncoder:
    """The configured text encoder; `cfg`: as `text_encoder_class(cfg).resolve(cfg)` gives it."""
    return text_encoder_class(cfg)(cfg, tokenizer, compute)


def _register(kinds: dict[str, Kind], name: str, kind: Kind) -> None:
    if name in kinds:
        raise ValueError(f"two kinds are called {name!r}")
    kinds[name] = kind


def _find(kinds: dict[str, Kind], field: str, name: str) -> Kind:
    known = ", ".join(kinds)
    check(name in kinds, field, name, f"one of {known}, or a kind whose module is imported")
    return kinds[name]


register_codec("videodit", AutoencoderCodec)
register_text_encoder("videodit", JointTextEncoder)
