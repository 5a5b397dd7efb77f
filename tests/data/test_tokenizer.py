import pickle

import numpy as np
import pytest
import sentencepiece
from toy_text_encoder import tokenizer_without_bos

from videodit.config import ConfigError
from videodit.data.tokenizer import Tokenizer, train_tokenizer

CAPTIONS = [
    f"A {color} rabbit {verb} in the sunny meadow."
    for color in ("white", "gray", "brown")
    for verb in ("sits", "runs", "jumps", "sleeps")
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(CAPTIONS, 400)


def test_text_comes_back_whatever_its_letters(tokenizer):
    for text in (*CAPTIONS, "Żółć 兎 🐇 x=1", "a"):
        tokens = tokenizer.encode(text)
        assert tokens[0] == tokenizer.bos and tokens[-1] == tokenizer.eos
        assert all(0 <= token < tokenizer.vocab_size for token in tokens)
        assert tokenizer.decode(tokens) == tokenizer.decode(np.array(tokens)) == text


def test_the_empty_text_is_bos_and_eos(tokenizer):
    assert tokenizer.encode("") == [tokenizer.bos, tokenizer.eos]
    assert tokenizer.decode(tokenizer.encode("")) == ""


def test_many_texts_are_counted_as_one(tokenizer):
    texts = [*CAPTIONS, "", "Żółć 兎"]
    assert tokenizer.count(texts) == [len(tokenizer.encode(text)) for text in texts]
    assert tokenizer.count([]) == []


def test_a_model_without_bos_is_used_as_it_is():
    plain = tokenizer_without_bos(CAPTIONS)
    assert (plain.bos, plain.eos) == (None, 1)
    assert plain.encode("") == [1] and plain.count(["", CAPTIONS[0]])[0] == 1
    tokens = plain.encode(CAPTIONS[0])
    assert tokens[-1] == 1 and plain.decode(tokens) == CAPTIONS[0]
    assert pickle.loads(pickle.dumps(plain)).encode(CAPTIONS[0]) == tokens


def test_training_shortens_its_captions_within_the_vocabulary(tokenizer):
    assert 256 < tokenizer.vocab_size <= 400
    assert max(len(tokenizer.encode(text)) for text in CAPTIONS) < len(min(CAPTIONS, key=len)) / 2


def test_the_same_captions_give_the_same_tokenizer(tokenizer):
    again = train_tokenizer(iter(CAPTIONS), 400)
    other = train_tokenizer(CAPTIONS[1:], 400)
    assert again.model == tokenizer.model and again.digest == tokenizer.digest
    assert other.digest != tokenizer.digest


def test_write_read_and_pickle(tokenizer, tmp_path):
    tokenizer.write(tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["tokenizer.model"]
    for copy in (Tokenizer.read(tmp_path / "new"), pickle.loads(pickle.dumps(tokenizer))):
        assert copy.digest == tokenizer.digest
        assert copy.encode(CAPTIONS[0]) == tokenizer.encode(CAPTIONS[0])
    # The file is plain SentencePiece, for any other program.
    plain = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "new/tokenizer.model"))
    assert tokenizer.encode(CAPTIONS[0])[1:-1] == plain.encode(CAPTIONS[0])


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"tokenizer\.model: no such file"):
        Tokenizer.read(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"junk")
    with pytest.raises(ConfigError, match="not a SentencePiece model"):
        Tokenizer.read(tmp_path)
    with pytest.raises(ConfigError, match="some text"):
        train_tokenizer(["", "  "], 400)
    with pytest.raises(ConfigError, match="vocab_size=100: expected at least"):
        train_tokenizer(CAPTIONS, 100)
    with pytest.raises(ConfigError, match="too few for the letters"):
        train_tokenizer(["".join(map(chr, range(0x4E00, 0x4F00)))], 300)
