"""`aird enrol`: what is checked before any photo is read, aligned crops, and links."""

import os

import numpy as np
import pytest

from aird_plugin import Gallery
from aird_plugin.__main__ import main
from aird_plugin.data.images import encode_jpeg
from aird_plugin.recognition import enrolment
from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.recognition.network import Network


@pytest.fixture
def people(tmp_path, photo_of):
    """A folder with a photo each of ann and bob."""
    folder = tmp_path / "people"
    folder.mkdir()
    for name, marker in (("ann", ("large", 0, 0)), ("bob", ("large", 64, 64))):
        (folder / f"{name}.jpg").write_bytes(encode_jpeg(photo_of(marker)))
    return folder


def enrol(people, out, pack, *more) -> int:
    return main(["enrol", str(people), "--out", str(out), "--models", str(pack), *map(str, more)])


@pytest.fixture
def unread(monkeypatch):
    """Reading a photo fails the test."""
    monkeypatch.setattr(enrolment, "read_photo", lambda *_: pytest.fail("a photo was read"))


def test_names_that_are_taken_or_cannot_be_stored_are_errors_before_any_photo(people, pack, tmp_path, capsys, monkeypatch):
    out = tmp_path / "g.npz"
    assert enrol(people, out, pack) == 0
    before = out.read_bytes()
    monkeypatch.setattr(enrolment, "read_photo", lambda *_: pytest.fail("a photo was read"))
    assert enrol(people, out, pack) == 1
    assert "enrolled already: 2 identities (ann, bob); replace them with --replace" in capsys.readouterr().err
    (people / "unknown.jpg").write_bytes(b"")
    assert enrol(people, tmp_path / "new.npz", pack) == 1
    assert "an identity needs a name, other than 'unknown'" in capsys.readouterr().err
    (people / "unknown.jpg").unlink()
    try:
        (people / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert enrol(people, tmp_path / "new.npz", pack) == 1
    assert r"the name 'caf\udce9' is not UTF-8" in capsys.readouterr().err
    assert out.read_bytes() == before and not (tmp_path / "new.npz").exists()


@pytest.mark.usefixtures("unread")
def test_files_that_cannot_be_written_are_errors_before_any_photo(people, pack, tmp_path, capsys):
    (tmp_path / "text.npz").write_text("notes")
    (tmp_path / "folder.npz").mkdir()
    np.savez(tmp_path / "other.npz", ids=np.zeros(1), images=np.zeros(1))
    out = tmp_path / "g.npz"
    cases = [
        (tmp_path / "text.npz" / "g.npz", (), "is no folder that can be written to"),
        (tmp_path / "folder.npz", (), "is a folder"),
        (out, ("--export", out), "--out and --export name the same file"),
        (out, ("--export", tmp_path / "text.npz"), "holds something else than exported ids and vectors"),
        (out, ("--export", tmp_path / "other.npz"), "holds something else than exported ids and vectors"),
        (out, ("--export", tmp_path / "folder.npz"), "is a folder"),
        (out, ("--export", tmp_path / "v.csv"), "are .npz files"),
    ]
    for place, more, message in cases:
        assert enrol(people, place, pack, *more) == 1
        assert message in capsys.readouterr().err
    assert (tmp_path / "text.npz").read_text() == "notes" and not out.exists()


def test_export_overwrites_vectors_and_no_gallery(people, pack, analysis, tmp_path):
    out, vectors = tmp_path / "g.npz", tmp_path / "v.npz"
    assert enrol(people, out, pack, "--export", vectors) == 0
    assert enrol(people, out, pack, "--export", vectors, "--replace") == 0
    assert np.load(vectors)["ids"].tolist() == ["ann", "bob"]
    with pytest.raises(ValueError, match=r"g.npz holds something else than exported ids and vectors"):
        Gallery.load(out, analysis).export(out)


def test_aligned_crops_need_no_detector_and_others_are_listed(people, pack, tmp_path, photo_of, capsys):
    photo_HWC = photo_of(("large", 0, 0))
    for name in ("ann", "bob"):
        (people / f"{name}.jpg").write_bytes(encode_jpeg(photo_HWC[:112, :112]))
    (people / "wide.jpg").write_bytes(encode_jpeg(photo_HWC[:112, :150]))
    out = tmp_path / "g.npz"
    assert main(["enrol", str(people), "--aligned", "--out", str(out), "--models", str(pack / "hr.onnx")]) == 0
    printed = capsys.readouterr()
    assert "2 identities enrolled" in printed.out and "detector: none" in printed.out
    assert "images that are not square, so no aligned crops: 1 (wide.jpg)" in printed.err
    names = Gallery.load(out, TinyFaceAnalysis(pack / "hr.onnx")).names
    assert names == ["ann", "bob"]


def test_embedding_that_is_not_finite_is_named_by_its_photo(people, pack, tmp_path, monkeypatch, capsys):
    real = Network.embed
    monkeypatch.setattr(Network, "embed", lambda *given: real(*given) * np.array([[1.0], [np.nan]], np.float32))
    assert enrol(people, tmp_path / "g.npz", pack) == 1
    assert f"{people / 'bob.jpg'}: the embedding of the face at (" in capsys.readouterr().err
    assert not (tmp_path / "g.npz").exists()


def test_link_and_target_are_one_gallery(people, pack, analysis, tmp_path):
    target, link = tmp_path / "g.npz", tmp_path / "links" / "g.npz"
    link.parent.mkdir()
    link.symlink_to(target)
    assert enrol(people, link, pack) == 0
    assert link.is_symlink() and target.is_file() and not link.with_name("g.npz.lock").exists()
    gallery = Gallery.load(link, analysis)
    gallery.export(tmp_path / "v.npz")
    gallery.save(link)
    assert link.is_symlink() and Gallery.load(target, analysis).names == ["ann", "bob"]


def test_help_shows_no_exceptions(capsys):
    with pytest.raises(SystemExit):
        main(["enrol", "--help"])
    assert "ValueError" not in capsys.readouterr().out


def test_network_without_faces_is_printed_as_unused(people, pack, tmp_path, capsys):
    assert enrol(people, tmp_path / "g.npz", pack, "--limit", "tiny=0") == 0
    assert "tiny (16 px input) unused, hr (112 px input) all sizes" in capsys.readouterr().out
