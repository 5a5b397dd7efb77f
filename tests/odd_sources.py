"""Sources for the tests of the loader, in a file that worker processes can import without jax."""

import os
import signal
import sys
import time

import numpy as np

from videodit.config import ConfigError
from videodit.data.sources.synthetic import SyntheticSource
from videodit.data.video.files import resize, whole


class StoredSource:
    """Synthetic clips, made once and kept in memory."""

    def __init__(self, clips=24):
        made = SyntheticSource(clips)
        self.catalog, self.parts = made.catalog, made.parts
        sizes = zip(self.catalog.frames, self.catalog.height, self.catalog.width)
        self.frames = [made.read(i, whole(*map(int, size))) for i, size in enumerate(sizes)]

    def read(self, i, view):
        return resize(self.frames[i], view)


class OddSource(StoredSource):
    """Stored clips, of which some do something odd in the process that reads them."""

    def __init__(self, clips=24, **odd):
        """`odd`: method=indices of the clips that it is called for."""
        super().__init__(clips)
        self.marker = None  # a path
        self.odd = {i: name for name, indices in odd.items() for i in indices}

    def read(self, i, view):
        if i in self.odd:
            getattr(self, self.odd[i])(i)
        return super().read(i, view)

    def refuse(self, i):
        raise ConfigError(f"clip {self.catalog.ids[i]} is cut short")

    def crash(self, i):
        os.kill(os.getpid(), signal.SIGSEGV)

    def abort(self, i):
        os.abort()

    def quit(self, i):
        os._exit(3)

    def swell(self, i):
        np.ones(2 * 10**9, np.uint8)

    def die_once(self, i):
        """As if somebody killed the process: `marker` says that it has happened."""
        if not self.marker.exists():
            self.marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)

    def wait(self, i):
        time.sleep(60)

    def look_for_jax(self, i):
        heavy = {"jax", "grain", "flax"} & sys.modules.keys()
        raise ConfigError(f"clip {self.catalog.ids[i]}: pid {os.getpid()}, loaded {sorted(heavy)}")


class FullDisk:
    """A tokenizer that cannot read what it needs: a fault of the machine, not of a clip."""

    def encode(self, text):
        raise OSError(28, "No space left on device")
