"""High dynamic range (PQ and HLG in BT.2020) to BT.709, as a table for FFmpeg's filter lut3d.

Signals become light (ITU-R BT.2100), light up to PEAK becomes light up to WHITE (the EETF of ITU-R
BT.2408, annex 5: unchanged below a knee, a spline above it), and that becomes the signal of a
display of BT.709 (BT.1886). PyAV's FFmpeg has no filter that does this.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from videodit.data.sources import storage

PQ, HLG = 16, 18  # FFmpeg's numbers of the transfer curves
PEAK = 1000.0  # cd/m2: what PQ films are mostly graded for, and the nominal peak of HLG
WHITE = 203.0  # cd/m2: reference white (BT.2408); the display of BT.709 has no brighter one
GAMMA = 2.4  # BT.1886
HLG_GAMMA = 1.2  # of the system, at a peak of 1000 cd/m2
LUMA = np.array([0.2627, 0.6780, 0.0593])  # BT.2020
TO_BT709 = np.array(  # from BT.2020, both linear (ITU-R BT.2407)
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
NODES = 33  # of the table, along each colour

M1, M2 = 2610 / 16384, 2523 / 32  # of PQ
C1, C2, C3 = 107 / 128, 2413 / 128, 2392 / 128
A, B, C = 0.17883277, 0.28466892, 0.55991073  # of HLG


def table_file(curve: int) -> Path:
    """The table of a transfer curve in Adobe's format .cube, kept in the cache."""
    name = f"{curve}-{NODES}.cube"
    key = repr(("tone", curve, NODES, PEAK, WHITE, GAMMA))
    return storage.cached(key, name, lambda path: _write(path, curve))


def to_bt709(signal: np.ndarray, curve: int) -> np.ndarray:
    """BT.709 signals of BT.2020 signals with a transfer curve: ... 3 (RGB), 0..1."""
    light = roll_off(CURVES[curve](signal)) / WHITE
    return np.clip(light @ TO_BT709.T, 0, 1) ** (1 / GAMMA)


def roll_off(light: np.ndarray) -> np.ndarray:
    """Light up to WHITE of light up to PEAK, cd/m2 (BT.2408, annex 5, with black at 0)."""
    top = pq_signal(np.array(PEAK))
    most = pq_signal(np.array(WHITE)) / top
    knee = 1.5 * most - 0.5
    signal = np.clip(pq_signal(light) / top, 0, 1)
    t = np.maximum(signal - knee, 0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee)
    spline += (3 * t**2 - 2 * t**3) * most
    return pq_light(np.where(signal < knee, signal, spline) * top)


def pq_light(signal: np.ndarray) -> np.ndarray:
    """Light in cd/m2 of PQ signals, 0..1 (BT.2100, table 4)."""
    power = signal ** (1 / M2)
    return 10000 * (np.maximum(power - C1, 0) / (C2 - C3 * power)) ** (1 / M1)


def pq_signal(light: np.ndarray) -> np.ndarray:
    """PQ signals, 0..1, of light in cd/m2: the inverse of `pq_light`."""
    power = (light / 10000) ** M1
    return ((C1 + C2 * power) / (1 + C3 * power)) ** M2


def hlg_light(signal: np.ndarray) -> np.ndarray:
    """Light in cd/m2, on a display of PEAK, of HLG signals ... 3 (RGB), 0..1 (BT.2100, table 5)."""
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - C) / A) + B) / 12)
    return PEAK * (scene @ LUMA)[..., None] ** (HLG_GAMMA - 1) * scene


CURVES: dict[int, Callable[[np.ndarray], np.ndarray]] = {PQ: pq_light, HLG: hlg_light}


def _write(path: Path, curve: int) -> None:
    """Writes the table; red changes fastest."""
    axis = np.linspace(0, 1, NODES)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    colours = to_bt709(np.stack([red, green, blue], -1), curve).reshape(-1, 3)
    np.savetxt(path, colours, "%.6f", header=f"LUT_3D_SIZE {NODES}", comments="")
