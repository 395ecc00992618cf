"""Damaged gallery files, and files that are none, are refused by name."""

import io
import json
import zipfile

import numpy as np
import pytest

from aird_plugin.recognition.gallery_file import read_arrays, write_arrays


@pytest.fixture
def file(tmp_path):
    """A gallery of two identities."""
    arrays = {"templates": np.eye(2, 4, dtype=np.float32), "px": np.full(2, 112, np.float32)}
    arrays |= {"network": np.zeros(2, np.int32), "count": np.ones(2, np.int32)}
    write_arrays(tmp_path / "g.npz", arrays, ["ann", "bob"], {"networks": [{"name": "hr", "identity": "ab"}]})
    return tmp_path / "g.npz"


def refused(file) -> str:
    with pytest.raises(ValueError, match="is no gallery, or a damaged one") as caught:
        read_arrays(file)
    assert str(file) in str(caught.value)
    return str(caught.value)


def test_file_is_read_as_written(file):
    arrays, names, meta = read_arrays(file)
    assert names == ["ann", "bob"] and meta["networks"][0]["identity"] == "ab"
    np.testing.assert_array_equal(arrays["templates"], np.eye(2, 4))


@pytest.mark.parametrize("method", [8, 12, 14, 99])
def test_changed_compression_method_is_damage(file, method):
    content = bytearray(file.read_bytes())
    # In the first local header, and in the first entry of the directory at the end.
    content[8] = method
    content[content.index(b"PK\x01\x02") + 10] = method
    file.write_bytes(content)
    refused(file)


def test_encrypted_entry_is_damage(file):
    content = bytearray(file.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(content)
    refused(file)


def test_other_files_are_refused_without_advice_on_pickle(file):
    np.savez(file, templates=np.array([{}], object))
    assert "allow_pickle" not in refused(file)
    file.write_bytes(b"\x80\x04 no archive")
    assert "it is no .npz archive" in refused(file)
    with file.open("wb") as opened:
        np.save(opened, np.zeros(3))
    assert "it is no .npz archive" in refused(file)


def test_arrays_of_other_types_are_refused(file):
    arrays = dict(np.load(file))
    wrong = {
        "px": np.float32(3),
        "count": np.array(["a", "b"]),
        "network": np.zeros(2),
        "names": np.frombuffer(b"[" * 99_999, np.uint8),
    }
    wrong["meta"] = np.frombuffer(json.dumps({"format": 1, "networks": [{"name": 3, "identity": []}]}).encode(), np.uint8)
    for key, array in wrong.items():
        np.savez(file, **arrays | {key: array})
        refused(file)


def test_header_that_claims_more_than_the_file_is_refused(file):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 4)})
    arrays = {f"{key}.npy": content for key, content in contents(file).items()} | {"templates.npy": header.getvalue()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in arrays.items():
            archive.writestr(name, content)
    assert "another length than its header" in refused(file)


def contents(file) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
