import pytest

from tools.plan_table import BEGIN, END, GIB, LINES, replaced, table


def figures(**changes):
    memory = dict.fromkeys(("parameters", "optimizer", "average", "temporaries"), GIB)
    return {
        "mesh": {"data": 4, "fsdp": 128, "tensor": 1},
        "batch_rows": 512,
        "row_tokens": 16384,
        "clip_tokens": 840,
        "bytes": memory,
        "bytes_total": 4 * GIB,
        "bytes_of_chip": 8 * GIB,
        "fits": True,
        "compile_seconds": 61.4,
        "versions": {"jax": "0.10.2"},
    } | changes


def test_a_row_says_what_a_chip_needs_and_is_empty_where_nothing_is_known():
    known = figures(seconds={"step": 0.25}, mfu=0.4, chip_hours=12345.0)
    first, second = list(LINES)[:2]
    text = table({first: known, second: figures(fits=False)})
    head, _, one, other = text.splitlines()[:4]
    assert "data 4, fsdp 128 | 512 x 16384 | 1.00 | 1.00 | 1.00 | 1.00 | 4.0 of 8.0 | yes" in one
    assert "250 ms | 40% | 840 | 12,345 | 61 s" in one
    assert "| no |  |  | 840 |" in other and head.count("|") == one.count("|") == other.count("|")
    assert 'Compiled with "jax": "0.10.2".' in text


def test_the_table_is_replaced_and_the_text_around_it_stays():
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replaced(page, "| new |") == f"before\n{BEGIN}\n| new |\n{END}\nafter\n"
    with pytest.raises(ValueError, match="expected a line"):
        replaced("no table here", "| new |")
