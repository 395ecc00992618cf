"""Photos with several people: faces, sizes, networks, matches, and invalid requests."""

import base64
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from aird_plugin import Gallery
from aird_plugin.demo.face_crop import png
from aird_plugin.demo.photo import MAX_ENROLLED, MAX_IDENTITIES, PhotoApi
from tests.recognition.conftest import DIM


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def request(file: bytes, **changes) -> bytes:
    return json.dumps({"photo": b64(file), "share": 1, "far": 0.01, "gallery": []} | changes).encode()


def enrolled(name: str, *faces: dict) -> dict:
    """What the page sends for faces of an earlier response."""
    return {
        "name": name,
        "faces": [{key: face[key] for key in ("embedding", "px")} | {"network": face["network_id"]} for face in faces],
    }


@pytest.fixture
def photo(frame) -> bytes:
    """The frame with a face of 112 px and two of 56 px, as a file."""
    return png(frame[..., ::-1])


@pytest.fixture
def api(routed):
    """The student for faces below 60 px, and an empty gallery."""
    return PhotoApi(routed, Gallery(routed))


def ask(api, payload: bytes) -> dict:
    return json.loads(json.dumps(api.recognise(payload), allow_nan=False))


def test_faces_of_a_photo_without_a_gallery(api, photo, frame):
    response = ask(api, request(photo))
    assert (response["width"], response["height"], response["identities"]) == (640, 640, 0)
    expected = api.analysis.get(frame)
    assert sorted(round(face["px"]) for face in response["faces"]) == [56, 56, 112]
    for face, one in zip(response["faces"], expected, strict=True):
        assert face["network"] == ("hr" if face["px"] > 60 else "tiny") and face["match"] is None
        assert face["box"] == pytest.approx(one.bbox.tolist(), abs=0.01)
        assert np.array_equal(np.frombuffer(base64.b64decode(face["embedding"]), np.float32), one.embedding)
    # The small face in the middle; the large one lies in a corner.
    assert [face["box"][0] // 10 for face in response["faces"] if face["main"]] == [27]


def test_enrolled_faces_are_found_again(api, photo):
    """tests/recognition/conftest.py: the student's LR-LR threshold at 0.01 is 0.5 from 32 px on; none at 0.001."""
    small = [face for face in ask(api, request(photo))["faces"] if face["px"] < 60]
    response = ask(api, request(photo, gallery=[enrolled("Ann", small[0]), enrolled("Bob", small[1])]))
    assert response["identities"] == 2
    found = [face["match"] for face in response["faces"] if face["px"] < 60]
    assert [match["name"] for match in found] == ["Ann", "Bob"]
    assert [match["threshold"] for match in found] == [0.5, 0.5] and [match["cosine"] for match in found] == pytest.approx([1, 1])
    assert {candidate[0] for candidate in found[0]["candidates"]} == {"Ann", "Bob"}
    undecided = ask(api, request(photo, far=0.001, gallery=[enrolled("Ann", small[0])]))["faces"][-1]["match"]
    assert undecided["name"] is None and "no threshold was measured" in undecided["reason"] and undecided["candidates"]


def test_page_replaces_an_identity_of_the_commands_gallery(api, photo):
    faces = api.analysis.get(np.asarray(Image.open(io.BytesIO(photo)))[..., ::-1].copy())
    api.gallery.add("Ann", faces[0])
    api.gallery.add("Bob", faces[1])
    other = ask(api, request(photo))["faces"][2]
    response = ask(api, request(photo, gallery=[enrolled("Ann", other)]))
    assert response["identities"] == 2 and response["faces"][2]["match"]["candidates"][0][0] == "Ann"
    assert api.gallery.names == ["Ann", "Bob"] and ask(api, request(photo))["faces"][0]["match"]["candidates"][0][0] == "Ann"


def test_share_shrinks_the_photo_by_the_reference_resize(api, photo, frame):
    response = ask(api, request(photo, share=0.25))
    assert (response["width"], response["height"]) == (160, 160)
    shown = Image.open(io.BytesIO(base64.b64decode(response["image"].partition(",")[2])))
    expected = Image.fromarray(np.ascontiguousarray(frame[..., ::-1])).resize((160, 160), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(shown), np.asarray(expected))


def zeros(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (side, side)).save(file, "PNG")
    return file.getvalue()


PHOTO = zeros(64)
FACE = {"embedding": b64(np.ones(DIM, np.float32).tobytes()), "px": 20, "network": "0" * 64}
ANN = {"name": "Ann", "faces": [FACE]}


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "a request is"),
        (b"[" * 100_000, "a request is"),
        (b'{"photo": 1}', "a request is"),
        (request(b"GIF89a"), "no readable image"),
        (request(zeros(8200)), "8200x8200 pixels"),
        (request(PHOTO[:60]), "no readable image"),
        (request(PHOTO, photo="?!"), "a request is"),
        (request(PHOTO, share=0), "0.01 to 1; got 0.0"),
        (request(PHOTO, share=float("nan")), "got nan"),
        (request(PHOTO, share=2), "got 2.0"),
        (request(PHOTO, share=0.05), "3x3 pixels at this size"),
        (request(PHOTO, share=10**400), "a request is"),
        (request(PHOTO, gallery=7), "a request is"),
        (request(PHOTO, gallery=[{"name": "Ann"}]), "a request is"),
        (request(PHOTO, gallery=[{"name": "Ann", "faces": []}]), "no face of 'Ann'"),
        (request(PHOTO, gallery=[{"name": ["Ann"], "faces": [FACE]}]), "a name of its own"),
        (request(PHOTO, gallery=[ANN, ANN]), "a name of its own"),
        (request(PHOTO, gallery=[{"name": "unknown", "faces": [FACE]}]), "other than 'unknown'"),
        (request(PHOTO, gallery=[ANN]), "templates of another model"),
        (request(PHOTO, gallery=[{"name": "Ann", "faces": [FACE | {"px": -1}]}]), "more than 0 px"),
        (request(PHOTO, gallery=[{"name": "Ann", "faces": [FACE | {"px": float("inf")}]}]), "more than 0 px"),
        (request(PHOTO, gallery=[{"name": "Ann", "faces": [FACE | {"embedding": b64(b"123")}]}]), "got another face"),
        (request(PHOTO, gallery=[{"name": "Ann", "faces": [FACE | {"embedding": b64(bytes(4 * DIM))}]}]), "not all 0"),
        (request(PHOTO, gallery=[{"name": "Ann", "faces": [FACE | {"embedding": b64(b"\xff" * 4 * DIM)}]}]), "finite numbers"),
        (request(PHOTO, gallery=[{"name": "Ann", "faces": [FACE] * (MAX_ENROLLED + 1)}]), "too many for the page"),
        (request(PHOTO, gallery=[{"name": str(n), "faces": []} for n in range(MAX_IDENTITIES + 1)]), "too many for the page"),
    ],
)
def test_invalid_request_is_rejected_in_one_line(api, payload, message):
    with pytest.raises(ValueError) as error:
        api.recognise(payload)
    assert message in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("far", [2, 0, -1, float("nan")])
def test_impossible_rate_is_rejected(api, photo, far):
    face = ask(api, request(photo))["faces"][0]
    with pytest.raises(ValueError, match="far must lie"):
        api.recognise(request(photo, far=far, gallery=[enrolled("Ann", face)]))


def test_photo_over_the_limit_is_rejected(api, monkeypatch):
    monkeypatch.setattr("aird_plugin.demo.photo.PHOTO_LIMIT", 50)
    with pytest.raises(ValueError, match="the limit is"):
        api.recognise(request(PHOTO))


def options(pack, **changes):
    files = {"model": str(pack / "tiny"), "teacher": str(pack / "hr.onnx"), "detector": str(pack / "det_markers.onnx")}
    fields = {"network": None, "thresholds": None, "pairs": None, "gallery": None, "model_input": None, "teacher_input": None}
    return SimpleNamespace(**fields | files | changes)


def test_exported_folder_brings_its_thresholds_and_routes_photos(pack, photo):
    from aird_plugin.demo.loading import load

    lines = []
    api = load(options(pack), lines.append)
    info = api.info()
    assert info["rates"] == [0.1, 0.01, 0.001] and "det_markers.onnx" in lines[0]
    # hr accepts more at every px.
    assert info["photo"] == {
        "networks": [
            {"name": "tiny", "side": 16, "sizes": "unused"},
            {"name": "hr", "side": 112, "sizes": "all sizes"},
        ],
        "rates": [0.1, 0.01],
        "gallery": 0,
    }
    assert api.no_photo == "" and len(ask(api.photo, request(photo))["faces"]) == 3


def test_page_of_a_student_that_is_better_at_all_sizes(routed):
    """Its limit is infinite, which JSON does not have."""
    routed.limits = {"tiny": float("inf")}
    networks = json.loads(json.dumps(PhotoApi(routed, Gallery(routed)).info(), allow_nan=False))["networks"]
    assert [network["sizes"] for network in networks] == ["all sizes", "unused"]


def test_gallery_of_the_command(pack, photo, tmp_path, tiny_run):
    from aird_plugin.demo.loading import load

    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "Ann.png").write_bytes(photo)
    api = load(options(pack, gallery=str(tmp_path / "people")), print)
    assert api.photo.gallery.names == ["Ann"] and api.info()["photo"]["gallery"] == 1
    api.photo.gallery.save(tmp_path / "people.npz")
    loaded = load(options(pack, gallery=str(tmp_path / "people.npz")), print)
    main = [face for face in ask(loaded.photo, request(photo))["faces"] if face["main"]]
    assert main[0]["match"]["name"] == "Ann"
    with pytest.raises(FileNotFoundError, match="no gallery at nowhere"):
        load(options(pack, gallery="nowhere"), print)
    # A .pt file compares two faces as before; only a gallery makes it an error.
    bare = {"model": tiny_run["teacher"], "network": "native112_0.05m", "teacher": None}
    without = load(options(pack, **bare), print)
    assert without.photo is None and "aird export RUN" in without.info()["no_photo"]
    with pytest.raises(ValueError, match="aird export RUN"):
        load(options(pack, **bare, gallery=str(tmp_path / "people")), print)
