import numpy as np

from tools.matmul_curves import PARTS, table


def test_curves_are_compared_part_by_part():
    reference = np.repeat(np.arange(PARTS, 0, -1.0), 5)
    lines = table({"bfloat16": reference, "int8": reference + 0.25}).splitlines()
    assert lines[1].split() == ["bfloat16", *(f"{x}.0000" for x in range(PARTS, 0, -1))]
    assert lines[3].split() == ["minus", "bfloat16", *["+0.2500"] * PARTS]
