"""A text encoder of others in one file: frozen, and its tokenizer has no BOS, as T5's."""

import io
from collections.abc import Iterable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import sentencepiece

from videodit.data.tokenizer import Tokenizer
from videodit.models.protocols import TextEncoder
from videodit.models.registry import register_text_encoder
from videodit.sharding import replicate, spec

WIDTH = 32


def tokenizer_without_bos(captions: Iterable[str], vocab_size: int = 300) -> Tokenizer:
    """A tokenizer with the special tokens of T5's: padding 0, EOS 1, unknown 2, no BOS."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(captions),
        model_writer=model,
        model_type="unigram",
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return Tokenizer(model.getvalue())


class ToyTextEncoder(TextEncoder):
    """A vector for each token, whatever stands beside it. Its folder holds table.npy, V E."""

    trained = False

    def __init__(self, cfg, tokenizer, compute):
        self.cfg, self.tokenizer, self.dtype = cfg, tokenizer, compute.dtype
        self.width = WIDTH

    def init(self, key):
        return {"table": jax.random.normal(key, (self.tokenizer.vocab_size, WIDTH))}

    def read(self):
        return replicate({"table": np.load(Path(self.cfg.workdir) / "table.npy")})

    def encode(self, params, ids, positions, segments):
        one_hot = jax.nn.one_hot(ids, self.tokenizer.vocab_size)
        out = spec("batch", "length", None)
        return jnp.matmul(one_hot, params["table"], out_sharding=out).astype(self.dtype)


def write_text_encoder(folder, captions, seed=0):
    """The folder of a text encoder with random vectors."""
    tokenizer = tokenizer_without_bos(captions)
    tokenizer.write(folder)
    table = np.random.default_rng(seed).normal(size=(tokenizer.vocab_size, WIDTH))
    np.save(folder / "table.npy", table.astype(np.float32))
    return str(folder)


register_text_encoder("toy", ToyTextEncoder)
