"""Captions to token ids and back: SentencePiece (arXiv:1808.06226), trained on the captions."""

import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece

from videodit.config import ConfigError, check
from videodit.data.sources import storage
from videodit.files import named, replacing

FILE = "tokenizer.model"
MIN_VOCAB_SIZE = 300  # 256 bytes, 4 special tokens, and a few letters


class Tokenizer:
    """A SentencePiece model with an EOS token. Can be pickled and shared by threads.

    Models that we train also have a BOS token. Others have none (T5's: pad 0, EOS 1, unknown 2).
    """

    def __init__(self, model: bytes) -> None:
        """`model`: a serialized SentencePiece model. Raises ConfigError for anything else."""
        self.model = model
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise ConfigError(f"tokenizer: not a SentencePiece model: {error}") from error
        self.eos = self._processor.eos_id()
        check(self.eos >= 0, "tokenizer", FILE, "a model with an EOS token")
        bos = self._processor.bos_id()
        self._prefix = [bos] if bos >= 0 else []
        self.vocab_size = self._processor.vocab_size()
        self.digest = hashlib.sha256(model).hexdigest()[:16]

    def __reduce__(self) -> tuple[type["Tokenizer"], tuple[bytes]]:
        return Tokenizer, (self.model,)

    @property
    def bos(self) -> int | None:
        """The id of the BOS token, None if the model has none."""
        return self._prefix[0] if self._prefix else None

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` between BOS (if there is one) and EOS."""
        return [*self._prefix, *self._processor.encode(text), self.eos]

    def count(self, texts: Sequence[str]) -> list[int]:
        """The lengths of `encode` of each text, found by all cores."""
        added = len(self._prefix) + 1
        return [len(ids) + added for ids in self._processor.encode(list(texts), num_threads=-1)]

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of token ids, without BOS and EOS."""
        return self._processor.decode([int(token) for token in tokens])

    @classmethod
    def read(cls, folder: str | os.PathLike, field: str = "") -> "Tokenizer":
        """The tokenizer in `folder`, local or remote.

        Raises ConfigError if there is none, naming the config field `field` if it is given.
        """
        path = os.path.join(folder, FILE)
        if not storage.is_file(path):
            given = f"{field}={os.fspath(folder)!r}: " if field else ""
            raise ConfigError(
                f"{given}{path}: no such file; expected a folder that tools.curate made"
            )
        with named(path):
            return cls(storage.local(path).read_bytes())

    def write(self, folder: str | os.PathLike) -> None:
        """Writes `folder`/tokenizer.model, in one piece or not at all. Makes the folder."""
        path = Path(folder) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(self.model)


def train_tokenizer(captions: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-pair tokenizer of at most `vocab_size` tokens; the same captions give the same one.

    Unknown characters fall back to their bytes, so nothing is lost. Raises ConfigError if the
    captions are empty or `vocab_size` cannot hold their letters.
    """
    check(vocab_size >= MIN_VOCAB_SIZE, "vocab_size", vocab_size, f"at least {MIN_VOCAB_SIZE}")
    captions = [caption for caption in captions if caption.strip()]
    check(bool(captions), "captions", captions, "some text to train a tokenizer on")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(captions),
            model_writer=model,
            model_type="bpe",  # counts only, no floating-point sums: the same on every machine
            vocab_size=vocab_size,
            hard_vocab_limit=False,  # few captions make fewer tokens
            byte_fallback=True,
            max_sentence_length=1 << 16,  # bytes; longer captions would be left out
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ConfigError(
            f"vocab_size={vocab_size}: too few for the letters of the captions ({error})"
        ) from error
    return Tokenizer(model.getvalue())
