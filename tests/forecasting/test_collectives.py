import json

import jax
import pytest

from tools.golden_collectives import FILE, MESHES, measure

QUICK = "data 2, fsdp 2, tensor 2"


@pytest.mark.parametrize(
    "mesh", [pytest.param(x, marks=[] if x == QUICK else pytest.mark.slow) for x in MESHES]
)
def test_a_step_exchanges_what_it_did(mesh):
    known = json.loads(FILE.read_text())
    if jax.__version__ not in known:
        pytest.skip(f"XLA may do otherwise with jax {jax.__version__}: {FILE.name} has {[*known]}")
    assert measure(mesh) == known[jax.__version__][mesh], (
        "if this is meant: python -m tools.golden_collectives"
    )
