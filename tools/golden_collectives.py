"""python -m tools.golden_collectives

Writes tests/goldens/collectives.json: how often a small train step exchanges how many bytes over
which axes, on meshes of eight devices, for the version of jax that runs it. The test of that name
fails if a change makes the step exchange anything else. This command then renews the file, once
with each version of the requirements, and the commit explains the change.
"""

import json
import os
from pathlib import Path

FILE = Path(__file__).parents[1] / "tests" / "goldens" / "collectives.json"
MESHES = {
    "fsdp 8": {"fsdp": 8},
    "data 2, fsdp 2, tensor 2": {"data": 2, "fsdp": 2, "tensor": 2},
    "fsdp 2, context 4": {"fsdp": 2, "context": 4},
    "fsdp 2, ring 4": {"fsdp": 2, "ring": 4},
}


def measure(name: str) -> dict[str, list[int]]:
    """For each "KIND over AXES", how often a step on the mesh exchanges, and bytes of a device."""
    from configs import dit_xl
    from videodit import plan
    from videodit.config import from_config_dict

    config = dit_xl.get_config("smoke")
    config.mesh.update(**{"data": 1, **MESHES[name]})
    config.data.update(batch_rows=8, rows_per_group=8, row_tokens=256, latents="stored")
    config.data.modes.update(prepend=0.0, connect=0.0, inpaint=0.0)
    found = plan.plan(from_config_dict(config), "cpu:8").figures()["collectives"]
    names = [f"{x['kind']} over {' x '.join(x['axes'])}" for x in found]
    return {name: [round(x["times"]), round(x["bytes"])] for name, x in zip(names, found)}


def main() -> None:
    """Renews the file."""
    import jax

    known = json.loads(FILE.read_text()) if FILE.is_file() else {}
    known[jax.__version__] = {name: measure(name) for name in MESHES}
    FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"}
    main()
