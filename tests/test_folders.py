import pytest

from videodit.config import ConfigError
from videodit.folders import check_file, check_folder, check_trained, make_folder


def test_a_folder_is_checked_without_being_made(tmp_path):
    check_folder(tmp_path / "a" / "b", "--out")
    assert list(tmp_path.iterdir()) == []
    assert make_folder(tmp_path / "a" / "b", "--out").is_dir()
    make_folder(tmp_path / "a" / "b", "--out")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("check", [check_folder, make_folder])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, check):
    (tmp_path / "file").write_text("")
    for path in ("/sys/kernel", "/sys/kernel/run", f"{tmp_path}/file", f"{tmp_path}/file/run"):
        message = f"^--out='{path}': expected a folder that can be written \\(.+\\)$"
        with pytest.raises(ConfigError, match=message):
            check(path, "--out")


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    check_file(tmp_path / "new.json", "--out")
    assert list(tmp_path.iterdir()) == []
    for path in ("/sys/kernel/a.json", f"{tmp_path}", f"{tmp_path}/absent/a.json"):
        message = f"^--out='{path}': expected a file in a folder that can be written \\(.+\\)$"
        with pytest.raises(ConfigError, match=message):
            check_file(path, "--out")


def test_a_folder_without_a_trained_run_is_named(tmp_path):
    for name in ("config.json", "checkpoints/3/params"):
        message = "no checkpoint" if name.startswith("check") else "it has no config.json"
        with pytest.raises(ConfigError, match=rf"^--workdir='{tmp_path}': .*{message}"):
            check_trained(tmp_path, "--workdir")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    check_trained(tmp_path, "--workdir")
    with pytest.raises(ConfigError, match=r"^--workdir='a{5000}': expected a run's folder"):
        check_trained("a" * 5000, "--workdir")
