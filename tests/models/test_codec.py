import json

import pytest

from videodit.config import ConfigError
from videodit.models.codec import STATISTICS_FILE, read_statistics


@pytest.mark.parametrize(
    "text", ["", "\0", '{"mean": [0.0], "cov', '{"mean": [0, 1], "covariance": [[1]]}', "{}"]
)
def test_damaged_statistics_are_named(tmp_path, text):
    (tmp_path / STATISTICS_FILE).write_text(text)
    with pytest.raises(ConfigError, match=rf"{STATISTICS_FILE}: (is|expected) "):
        read_statistics(str(tmp_path))


def test_statistics_are_read(tmp_path):
    values = {"mean": [1.0, 2.0], "covariance": [[2.0, 0.5], [0.5, 3.0]]}
    (tmp_path / STATISTICS_FILE).write_text(json.dumps(values))
    found = read_statistics(str(tmp_path))
    assert found.mean.tolist() == values["mean"]
    assert found.covariance.tolist() == values["covariance"]
