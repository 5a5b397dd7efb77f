import json

from tools import demo
from videodit.curation.film import CAPTIONS


def test_requests_ask_for_captions_of_the_film_in_every_shape(tmp_path):
    (tmp_path / "big_buck_bunny.jsonl").write_text(CAPTIONS.read_text())
    demo.write_requests(tmp_path, tmp_path / "requests.jsonl")
    requests = [json.loads(line) for line in (tmp_path / "requests.jsonl").open()]
    captions = {json.loads(line)["caption"] for line in CAPTIONS.open()}
    assert {request["prompt"] for request in requests} <= captions
    assert len({request["prompt"] for request in requests}) == 4
    assert len({request["out"] for request in requests}) == len(requests)
    aspects = {tuple(map(int, request["size"].split("x"))) for request in requests}
    assert {(w > h) - (w < h) for w, h in aspects} == {-1, 0, 1}
    assert len({request["frames"] for request in requests}) == 2
