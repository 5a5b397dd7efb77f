"""What the tests of worlds need of the machine."""

import ctypes

import pytest


def require_panda3d():
    """Skips the tests of a file where Panda3D, or the libX11 that its renderer loads, is absent."""
    pytest.importorskip("panda3d")
    try:
        ctypes.CDLL("libX11.so.6")
    except OSError:
        pytest.skip("libX11.so.6 is absent", allow_module_level=True)
