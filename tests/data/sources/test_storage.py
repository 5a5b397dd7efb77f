import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from etils.epath import backend

from videodit.config import ConfigError
from videodit.data.sources import storage


def cached_names(tmp_path):
    names = (path.name for path in (tmp_path / "cache").iterdir() if path.name != storage.LOCKS)
    return sorted(name.split("-", 1)[1] for name in names)


def test_a_local_file_is_itself(tmp_path):
    path = tmp_path / "file"
    assert storage.local(path) == path and storage.local_folder(str(tmp_path)) == tmp_path
    path.write_text("a")
    first = storage.stamp(path)
    assert first == storage.stamp(path)
    path.write_text("ab")
    assert storage.stamp(path) != first


def test_a_remote_file_is_copied_once_and_again_when_it_changes(remote, tmp_path):
    (remote / "clips.bin").write_bytes(b"one")
    path = storage.local("gs://bucket/clips.bin")
    assert path.read_bytes() == b"one" and path.parent == tmp_path / "cache"
    path.write_bytes(b"the copy")
    assert storage.local("gs://bucket/clips.bin").read_bytes() == b"the copy"
    (remote / "clips.bin").write_bytes(b"other")
    assert storage.local("gs://bucket/clips.bin").read_bytes() == b"other"
    assert cached_names(tmp_path) == ["clips.bin"] * 2


def test_folders_and_names(remote, tmp_path):
    for name in ("b.mp4", "a/c.mp4", "a/d/e.txt", ".hidden/f.mp4", "a/.g"):
        (remote / name).parent.mkdir(parents=True, exist_ok=True)
        (remote / name).write_text(name)
    expected = ["a/c.mp4", "a/d/e.txt", "b.mp4"]
    assert storage.files(remote) == storage.files("gs://bucket") == expected
    assert storage.is_dir("gs://bucket/a") and not storage.is_dir("gs://bucket/b.mp4")
    assert storage.is_file("gs://bucket/b.mp4") and not storage.is_file("gs://bucket/a")
    assert not storage.is_dir("gs://bucket/absent") and not storage.is_file("gs://bucket/absent")
    copy = storage.local_folder("gs://bucket")
    assert storage.files(copy) == expected and (copy / "a/d/e.txt").read_text() == "a/d/e.txt"


def test_a_missing_file_or_bucket_is_named(remote):
    with pytest.raises(ConfigError, match="gs://bucket/absent: no such file"):
        storage.local("gs://bucket/absent")
    with pytest.raises(ConfigError, match="gs://other: no such file"):
        storage.files("gs://other")


def test_a_library_that_is_missing_is_named(remote, monkeypatch):
    def missing(name, **options):
        raise ImportError("Please install gcsfs")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    backend.fsspec_backend._get_filesystem.cache_clear()
    with pytest.raises(ConfigError, match=r"gs://bucket/x: .*pip install -e '.\[gcs\]'"):
        storage.local("gs://bucket/x")


def test_of_many_that_ask_at_once_one_makes_the_file(remote):
    made = []

    def make(path):
        made.append(threading.get_ident())
        path.write_text("half")
        time.sleep(0.1)
        path.write_text("whole")

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: storage.cached("key", "name", make), range(8)))
    assert len(made) == 1 and {path.read_text() for path in paths} == {"whole"}


def test_what_fails_half_way_leaves_nothing(remote, tmp_path):
    def make(path):
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        storage.cached("key", "name", make)
    assert cached_names(tmp_path) == []
    assert storage.cached("key", "name", lambda path: path.write_text("b")).read_text() == "b"


def test_above_its_bound_the_cache_forgets_what_was_not_used_for_longest(
    remote, tmp_path, monkeypatch
):
    monkeypatch.setenv(storage.BOUND, "35e-9")  # 35 bytes

    def use(name):
        path = storage.cached(name, name, lambda path: path.write_text("0123456789"))
        os.utime(path, ns=(use.now, use.now))
        use.now += 1

    use.now = 1
    for name in ("a", "b", "c", "a", "d"):
        use(name)
    assert cached_names(tmp_path) == ["a", "c", "d"]
    big = storage.cached("big", "big", lambda path: path.write_bytes(bytes(99)))
    assert cached_names(tmp_path) == ["big"] and big.stat().st_size == 99  # what is asked for stays
    monkeypatch.setenv(storage.BOUND, "much")
    with pytest.raises(ConfigError, match="VIDEODIT_CACHE_GB='much': expected a number"):
        use("e")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_cache_belongs_to_its_user_alone(tmp_path, monkeypatch):
    cache = tmp_path / "new" / "cache"
    monkeypatch.setenv(storage.FOLDER, str(cache))
    storage.cached("key", "name", lambda path: path.touch())
    assert mode(cache) == 0o700
    cache.chmod(0o755)  # as older versions made it
    storage.cached("key", "name", lambda path: path.touch())
    assert mode(cache) == 0o700
    monkeypatch.setattr(os, "geteuid", lambda: cache.stat().st_uid + 1)
    with pytest.raises(ConfigError, match=r"VIDEODIT_CACHE=.*cache: belongs to another user"):
        storage.cached("key", "name", lambda path: path.touch())


def test_a_folder_with_other_files_is_no_cache(tmp_path, monkeypatch):
    """The cache deletes what is old, and closes its folder to other users."""
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)
    monkeypatch.setenv(storage.FOLDER, str(tmp_path))
    with pytest.raises(ConfigError, match=r"holds 'thesis\.tex', which is no part of a cache"):
        storage.cached("key", "name", lambda path: path.touch())
    assert mode(tmp_path) == 0o755


def test_a_cache_that_cannot_be_closed_to_others_is_refused(tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir(mode=0o755)
    monkeypatch.setenv(storage.FOLDER, str(tmp_path / "cache"))
    monkeypatch.setattr(Path, "chmod", lambda *_: None)  # as on some network file systems
    with pytest.raises(ConfigError, match="cannot be closed to them"):
        storage.cached("key", "name", lambda path: path.touch())


def test_a_remote_file_of_any_name_is_copied(remote):
    for name in ("狐" * 70 + ".mp4", "a b" * 80):
        (remote / name).write_text(name)
        assert storage.local(f"gs://bucket/{name}").read_text() == name


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(storage.FOLDER, str(tmp_path / "file" / "cache"))
    with pytest.raises(ConfigError, match=r"VIDEODIT_CACHE=.*file/cache: cannot be made"):
        storage.cached("key", "name", lambda path: path.touch())
