"""Skips tests of worlds whose libraries the machine lacks."""

import ctypes

import pytest


def has_libx11() -> bool:
    try:
        ctypes.CDLL("libX11.so.6")
    except OSError:
        return False
    return True


# The `pytestmark` of files that render with Panda3D, which loads this library.
needs_libx11 = pytest.mark.skipif(not has_libx11(), reason="libX11.so.6 is absent")
