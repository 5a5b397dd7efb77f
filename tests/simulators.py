"""What the tests of worlds need of the machine."""

import ctypes

import pytest


def has_libx11() -> bool:
    try:
        ctypes.CDLL("libX11.so.6")
    except OSError:
        return False
    return True


# Of a file's tests (`pytestmark`): Panda3D's renderer loads the library.
needs_libx11 = pytest.mark.skipif(not has_libx11(), reason="libX11.so.6 is absent")
