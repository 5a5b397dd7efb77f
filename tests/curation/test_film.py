import io
import json
import tarfile
import zipfile

import pytest

from videodit.config import ConfigError
from videodit.curation.film import CAPTIONS, FILM_IN_ZIP, ZIP_END, extract, sha256

FRAMES = 14315  # of the film


def test_the_shots_lie_in_the_film_one_after_another():
    shots = [json.loads(line) for line in CAPTIONS.read_text().splitlines()]
    assert len(shots) == 127 and all(shot["fps"] == 24 for shot in shots)
    ends = [0] + [shot["end"] for shot in shots]
    assert all(end <= shot["start"] < shot["end"] for end, shot in zip(ends, shots))
    assert ends[-1] <= FRAMES
    assert all(shot["caption"].endswith(".") for shot in shots)


def test_a_package_with_another_film_is_refused(tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr(FILM_IN_ZIP, b"another film")
    with tarfile.open(tmp_path / "package.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("moviepy-2.2.1/docs" + ZIP_END)
        member.size = archive.tell()
        archive.seek(0)
        tar.addfile(member, archive)
    with pytest.raises(ConfigError, match=r"film\.mp4: its sha256"):
        extract(tmp_path / "package.tar.gz", tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").read_bytes() == b"another film"  # found where it is looked for


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")
