"""A text encoder of others in one file: frozen, and its tokenizer has no BOS, as T5's."""

import io
from collections.abc import Iterable

import sentencepiece

from videodit.data.tokenizer import Tokenizer


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
