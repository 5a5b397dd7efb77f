"""What a change of structure must not change: parameters, batches and losses (tools/goldens.py)."""

import json

import numpy as np
import pytest

from tools.goldens import FOLDER, RUNS, batch_hashes, config_names, parameter_table, run_smoke

ADVICE = "if this is meant: python -m tools.goldens"


@pytest.mark.parametrize("name", config_names())
def test_parameters_are_the_golden_ones(name):
    golden = json.loads((FOLDER / "parameters" / f"{name}.json").read_text())
    assert parameter_table(name) == golden, ADVICE


@pytest.mark.parametrize("name", RUNS)
def test_batches_are_the_golden_ones(name):
    golden = json.loads((FOLDER / "runs.json").read_text())[name]["batches"]
    assert batch_hashes(RUNS[name]) == golden, ADVICE


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_losses_are_the_golden_ones(name, tmp_path):
    golden = json.loads((FOLDER / "runs.json").read_text())[name]["losses"]
    np.testing.assert_allclose(run_smoke(RUNS[name], tmp_path)["loss"], golden, rtol=1e-3)
