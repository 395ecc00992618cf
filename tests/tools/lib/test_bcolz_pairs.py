"""bcolz folders, written by hand after its DISK_FORMAT_v1 -> verification files."""

import json
import struct

import numpy as np
import pytest

from aird_plugin.data.images import decode
from aird_plugin.data.pairs import read_pairs
from tests.skips import needs
from tools import make_bin
from tools.lib import bcolz_pairs

CHUNKLEN = 3


def stored(plain: bytes) -> bytes:
    """A chunk of Blosc that was not compressed."""
    return bytes([2, 1, 0x2, 4]) + struct.pack("<III", len(plain), len(plain), len(plain) + 16) + plain


@pytest.fixture
def write(tmp_path):
    """(uint8 images (M, 112, 112, 3), compress) -> a folder as InsightFace_Pytorch's script writes it: BGR, last chunk padded."""

    def build(images_MHWC, compress=stored):
        folder = tmp_path / "agedb_30"
        (folder / "meta").mkdir(parents=True, exist_ok=True)
        (folder / "data").mkdir(exist_ok=True)
        value_MCHW = ((images_MHWC[..., ::-1] / np.float32(255) - np.float32(0.5)) / np.float32(0.5)).transpose(0, 3, 1, 2)
        padded = np.zeros((-len(value_MCHW) % CHUNKLEN, *value_MCHW.shape[1:]), np.float32)
        value_MCHW = np.concatenate([value_MCHW.astype(np.float32), padded])
        for number in range(len(value_MCHW) // CHUNKLEN):
            content = np.ascontiguousarray(value_MCHW[number * CHUNKLEN : (number + 1) * CHUNKLEN]).tobytes()
            header = b"blpk" + bytes([1, 0, 0, 0]) + struct.pack("<q", 1)
            (folder / "data" / f"__{number}.blp").write_bytes(header + compress(content))
        (folder / "meta" / "sizes").write_text(json.dumps({"shape": list(images_MHWC.transpose(0, 3, 1, 2).shape)}))
        (folder / "meta" / "storage").write_text(json.dumps({"dtype": "float32", "chunklen": CHUNKLEN}))
        np.save(tmp_path / "agedb_30_list.npy", np.arange(len(images_MHWC) // 2) % 2 == 0)
        return folder

    return build


def images_of(folder, *options):
    """The decoded images of the .bin."""
    out = folder.with_name("out.bin")
    assert make_bin.main([str(folder), str(out), *options]) == 0
    pairs = read_pairs(out)
    assert pairs.same.tolist() == [True, False][: len(pairs.same)]
    return np.stack([decode(image, "") for image in pairs.images])


def test_every_pixel_comes_back(write, noise_faces):
    images_MHWC = np.stack(noise_faces(4))
    folder = write(images_MHWC)
    assert np.array_equal(images_of(folder), images_MHWC)
    assert np.array_equal(images_of(folder, "--rgb"), images_MHWC[..., ::-1])


def test_compressed_chunks(write, noise_faces):
    """With bcolz's own settings: lz4, byte shuffle, several blocks a chunk."""
    codec = needs("numcodecs.blosc").Blosc(cname="lz4", clevel=5, shuffle=1)
    images_MHWC = np.stack(noise_faces(2))
    folder = write(images_MHWC, lambda plain: codec.encode(np.frombuffer(plain, np.float32)))
    assert np.array_equal(images_of(folder), images_MHWC)


def broken(folder, what):
    first = folder / "data" / "__0.blp"
    content = bytearray(first.read_bytes())
    if what == "compressed":
        content[18] = 0
    elif what == "cut":
        content = content[:-1]
    elif what == "values":
        content[32:36] = struct.pack("<f", 0.5001)
    elif what == "shape":
        (folder / "meta" / "sizes").write_text('{"shape": [2, 3, 96, 112]}')
    elif what == "flags":
        np.save(folder.with_name("agedb_30_list.npy"), np.array([True, False, True]))
    elif what == "code":
        np.save(folder.with_name("agedb_30_list.npy"), np.array([object()]), allow_pickle=True)
    first.write_bytes(content)


@pytest.mark.parametrize(
    "what, words",
    [
        ("compressed", "compressed with Blosc: pip install blosc2 .*where bcolz is installed run: python -c .*clevel=0"),
        ("cut", "__0.blp is damaged"),
        ("values", "not .value / 255 - 0.5. / 0.5 of 8-bit values"),
        ("shape", r"shape \[2, 3, 96, 112\].*expected \[2N, 3, 112, 112\]"),
        ("flags", r"expected 1 flags for 2 images"),
        ("code", "allow_pickle=False"),
    ],
)
def test_what_cannot_be_read_is_named(write, noise_faces, monkeypatch, what, words):
    monkeypatch.setattr(bcolz_pairs, "DECOMPRESSORS", ())
    folder = write(np.stack(noise_faces(2)))
    broken(folder, what)
    with pytest.raises((ValueError, ImportError), match=words):
        bcolz_pairs.bcolz_images(folder, rgb=False)
