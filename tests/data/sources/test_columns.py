import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from videodit.config import ConfigError
from videodit.data.sources.columns import Ragged, Texts, map_texts

ROWS = [(1, 2, 3), (), (4,), (5, 6)]


def test_ragged_rows():
    rows = Ragged.of(ROWS)
    assert list(rows) == ROWS and len(rows) == 4 and rows[-1] == (5, 6)
    assert rows.offsets.tolist() == [0, 3, 3, 4, 6] and rows.values.tolist() == [1, 2, 3, 4, 5, 6]
    assert rows.counts().tolist() == [3, 0, 1, 2]
    assert list(rows.select(np.array([3, 1, 0, 3]))) == [(5, 6), (), (1, 2, 3), (5, 6)]
    assert list(Ragged.concatenate([rows, Ragged.of([]), rows.select(np.array([2]))])) == [
        *ROWS,
        (4,),
    ]
    with pytest.raises(IndexError):
        rows[4]


def mapped(folder, names):
    """The texts of a Parquet file of clips with these names."""
    table = pa.table(
        {
            "ids": names,
            "shard": ["s"] * len(names),
            "captions": [[f"{name} 1", f"{name} 2"] for name in names],
            "text_tokens": [[1, 2]] * len(names),
        }
    )
    pq.write_table(table, folder / "texts.parquet", row_group_size=2)
    return map_texts(folder / "texts.parquet")


def test_texts_of_both_kinds_and_any_selection(tmp_path):
    stored = Texts.of(np.array(["a", "Ä", ""], object), pa.string())
    texts = mapped(tmp_path, list("vwxyz"))
    names, captions = texts["ids"], texts["captions"]
    assert list(stored) == ["a", "Ä", ""] and list(names) == list("vwxyz")
    assert captions[3] == ("y 1", "y 2")
    joined = Texts.concatenate([names.select(np.array([4, 0])), stored, names])
    assert list(joined) == ["z", "v", "a", "Ä", "", *"vwxyz"]
    assert joined[-1] == "z" and joined.to_arrow().to_pylist() == list(joined)
    picked = joined.select(np.array([9, 3, 0])).select(np.array([2, 1]))
    assert list(picked) == ["z", "Ä"] and picked.to_arrow().to_pylist() == ["z", "Ä"]
    assert list(pickle.loads(pickle.dumps(picked))) == ["z", "Ä"]
    with pytest.raises(IndexError):
        picked[2]


def test_mapped_texts_are_pickled_as_the_name_of_their_file(tmp_path):
    texts = mapped(tmp_path, [f"clip {i}" for i in range(10_000)])
    state = pickle.dumps(texts)
    assert len(state) < 2000
    assert pickle.loads(state)["captions"][9999] == ("clip 9999 1", "clip 9999 2")


def test_a_file_that_changes_before_its_texts_are_used_is_refused(tmp_path):
    texts = mapped(tmp_path, list("abc"))
    mapped(tmp_path, list("de"))
    with pytest.raises(ConfigError, match=r"texts\.parquet: has changed since it was opened"):
        texts["ids"][0]
