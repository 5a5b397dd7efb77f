"""A bucket without a network."""

import os

import fsspec
import pytest
from etils.epath import backend
from fsspec.implementations.local import LocalFileSystem

from videodit.data.sources import storage


def bucket(root):
    """A file system for gs:// whose buckets are folders of `root`."""

    class Bucket(LocalFileSystem):
        protocol = ("gs", "gcs")
        cachable = False

        @classmethod
        def _strip_protocol(cls, path):
            name = os.fspath(path).removeprefix("gs://").removeprefix(f"{root}/")
            return f"{root}/{name}".rstrip("/")

    return Bucket


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """The folder that is gs://bucket; the cache is empty."""
    monkeypatch.setenv(storage.FOLDER, str(tmp_path / "cache"))
    backend.fsspec_backend._get_filesystem.cache_clear()
    fsspec.register_implementation("gcs", bucket(tmp_path / "gs"), clobber=True)
    fsspec.register_implementation("gs", bucket(tmp_path / "gs"), clobber=True)
    folder = tmp_path / "gs" / "bucket"
    folder.mkdir(parents=True)
    yield folder
    backend.fsspec_backend._get_filesystem.cache_clear()
