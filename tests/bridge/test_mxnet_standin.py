"""The stand-in for mxnet, compared with files that mxnet wrote, with hand-computed values, and with mxnet itself."""

import base64
import hashlib
import importlib
import io
import json
import multiprocessing
import pickle
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aird_plugin.bridge.mxnet_standin import modules
from aird_plugin.data.images import decode, encode_jpeg
from aird_plugin.data.recordio.reader import RecordReader, RecordWriter
from tests.skips import mxnet_python

FIXTURES = Path(__file__).parents[1] / "data" / "mxnet"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())


@pytest.fixture
def mx(in_place_of):
    """`import mxnet as mx` with the stand-ins in place."""
    return in_place_of(modules(), "mxnet")


def opened(mx, folder, name="train"):
    return mx.recordio.MXIndexedRecordIO(str(folder / f"{name}.idx"), str(folder / f"{name}.rec"), "r")


def png(image) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_all_import_forms(mx):
    import mxnet
    import mxnet.recordio as recordio
    from mxnet import image, nd
    from mxnet import ndarray as also_nd
    from mxnet.recordio import unpack

    assert mxnet is mx and recordio.unpack is unpack and also_nd is nd is mx.ndarray is mx.nd and image is mx.image
    assert type("Crops", (mx.gluon.data.Dataset,), {"__len__": lambda self: 3}).__len__(None) == 3
    assert importlib.util.find_spec("mxnet.image").name == "mxnet.image"
    assert modules()["mxnet"] is not mx


@pytest.mark.parametrize(
    "full_name", ["mxnet.gluon.nn", "mxnet.recordio.MXRecordIO", "mxnet.image.imread", "mxnet.ndarray.slice"]
)
def test_missing_attribute_is_named(mx, full_name):
    package, _, name = full_name.rpartition(".")
    module = importlib.import_module(package)
    with pytest.raises(AttributeError, match=f"aird_plugin's stand-in for mxnet; it lacks {full_name};.*1.9.1.*1.24.*keep_mxnet"):
        getattr(module, name)
    with pytest.raises(AttributeError, match=f"^module '{module.__name__}' has no attribute '__wrapped__'$"):
        _ = module.__wrapped__


def test_missing_import_names_the_standin(mx):
    with pytest.raises(ImportError, match="kvstore.*mxnet_standin.py"):
        from mxnet import kvstore  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="^No module named 'mxnet.kvstore'$"):
        import mxnet.kvstore  # noqa: F401


@pytest.mark.parametrize("name", EXPECTED)
def test_unpack_reads_files_written_by_mxnet(mx, name):
    records = opened(mx, FIXTURES, name)
    for row in EXPECTED[name]:
        header, payload = mx.recordio.unpack(records.read_idx(row["key"]))
        assert isinstance(header, mx.recordio.IRHeader) and header._fields == ("flag", "label", "id", "id2")
        assert (header.id, header.id2, payload) == (row["id"], row["id2"], base64.b64decode(row["payload"]))
        if row["array"] and row["label"]:
            assert header.flag == len(row["label"]) and header.label.dtype == np.float32
            assert header.label.tobytes() == np.float32(row["label"]).tobytes()
        else:
            assert header.flag == 0 and type(header.label) is float
            assert header.label == (0.0 if row["array"] else np.float32(row["label"]))


def test_read_idx_returns_the_stored_bytes(mx):
    row, records = EXPECTED["insightface"][0], opened(mx, FIXTURES, "insightface")
    start = RecordReader(FIXTURES / "insightface.rec").offset(row["key"]) + 8
    stop = start + 24 + len(base64.b64decode(row["payload"]))
    stored = (FIXTURES / "insightface.rec").read_bytes()[start:stop]
    assert records.read_idx(np.int64(row["key"])) == stored
    with pytest.raises(KeyError, match="has no record 99"):
        records.read_idx(99)


def test_keys_keep_the_order_of_the_index(mx):
    listed = [int(line.split()[0]) for line in (FIXTURES / "variants.idx").read_text().splitlines()]
    assert opened(mx, FIXTURES, "variants").keys == listed != sorted(listed)


def read_all(records):
    return [records.read_idx(key) for key in records.keys]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_share_one_handle(mx, method):
    records = opened(mx, FIXTURES, "variants")
    expected = read_all(records)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map(read_all, [records]) == [expected]
    records.close()
    assert read_all(pickle.loads(pickle.dumps(records))) == expected


def test_invalid_files_and_flags_are_rejected(mx, tmp_path):
    idx, rec = FIXTURES / "variants.idx", FIXTURES / "variants.rec"
    with pytest.raises(ValueError, match="flag 'r' only; got 'w'"):
        mx.recordio.MXIndexedRecordIO(str(idx), str(rec), "w")
    with pytest.raises(ValueError, match="index of .*variants.rec must be .*variants.idx; got .*im2rec.idx"):
        mx.recordio.MXIndexedRecordIO(str(FIXTURES / "im2rec.idx"), str(rec), "r")
    with pytest.raises(FileNotFoundError, match="no index at .*train.idx"):
        opened(mx, tmp_path)
    shutil.copy(idx, tmp_path / "train.idx")
    with pytest.raises(FileNotFoundError, match="no record file at .*train.rec"):
        opened(mx, tmp_path)
    with pytest.raises(ValueError, match="3 bytes are too few"):
        mx.recordio.unpack(b"abc")


def test_imdecode_takes_bytes_bytearrays_and_arrays(mx, noise_faces):
    image = noise_faces(1)[0]
    for content in (encode_jpeg(image), png(image)):
        for buf in (content, bytearray(content), np.frombuffer(content, np.uint8)):
            decoded = mx.image.imdecode(buf)
            assert decoded.dtype == np.uint8 and (decoded.asnumpy() == decode(content, "")).all()
    assert (decoded.asnumpy() == image).all()
    for wrong in ("text", 7, np.zeros(4)):
        with pytest.raises(ValueError, match="imdecode takes bytes"):
            mx.image.imdecode(wrong)
    with pytest.raises(ValueError, match="no readable image"):
        mx.image.imdecode(b"no image")


def test_asnumpy_returns_a_plain_array_for_torch(mx, noise_faces):
    import torch

    image = noise_faces(1)[0]
    decoded = mx.image.imdecode(png(image))
    channels_first = mx.nd.transpose(decoded, axes=(2, 0, 1))
    mirrored = mx.ndarray.flip(data=channels_first, axis=2)
    assert (torch.from_numpy(mirrored.asnumpy()).numpy() == image.transpose(2, 0, 1)[:, :, ::-1]).all()
    plain = decoded[:, ::-1].asnumpy()
    assert type(plain) is np.ndarray and plain.flags.c_contiguous and plain.flags.writeable
    for changed in (channels_first, mirrored, plain, decoded.asnumpy()):
        changed[:] = 0
    assert (decoded.asnumpy() == image).all()


def test_resize_keeps_target_size_and_constant_images(mx, noise_faces):
    image = noise_faces(1)[0]
    assert (mx.image.resize_short(image, 112).asnumpy() == image).all()
    for shape in ((250, 250, 3), (17, 30, 3)):
        resized = mx.image.resize_short(np.full(shape, 77, np.uint8), 112)
        assert resized.dtype == np.uint8 and (resized.asnumpy() == 77).all()


def test_resize_of_a_step_matches_hand_computation(mx):
    """At twice the size a pixel lies a quarter pixel from its source, where the kernel with a = -0.75 has the taps -0.10546875,
    0.87890625, 0.26171875 and -0.03515625, or the same mirrored. The step is 100 levels high: with the last tap beyond it
    50 - 3.52 or 50 - 10.55, with the last two 50 + 22.66 or 50 + 77.34, and so on."""
    step = np.repeat(np.uint8([[50, 50, 50, 50, 150, 150, 150, 150]]), 8, 0)[:, :, None].repeat(3, 2)
    row = [50, 50, 50, 50, 50, 46, 39, 73, 127, 161, 154, 150, 150, 150, 150, 150]
    assert (mx.image.resize_short(step, 16).asnumpy() == np.array(row)[None, :, None]).all()
    assert (mx.image.resize_short(step.transpose(1, 0, 2), 16).asnumpy() == np.array(row)[:, None, None]).all()
    saturated = mx.image.resize_short((step // 100 * 255).astype(np.uint8), 16)[0, :, 0]
    assert saturated.asnumpy().tolist() == [0, 0, 0, 0, 0, 0, 0, 58, 197, 255, 255, 255, 255, 255, 255, 255]


def test_resize_repeats_the_border(mx):
    """The first pixel at twice the size has taps -2, -1, 0 and 1, which are pixels 0, 0, 0 and 1: here 100 + 10 * 0.10546875.
    A mirrored border would give 98.79."""
    image = np.uint8([[100, 90, 90, 90]] * 4)[:, :, None]
    assert mx.image.resize_short(image, 8)[0, :, 0].asnumpy().tolist() == [101, 98, 92, 89, 90, 90, 90, 90]


def test_resize_matches_mxnets_digest(mx):
    """11-bit weights and float32 sums change some levels by one, so the expected digest was recorded with mxnet itself."""
    y, x = np.mgrid[:250, :250]
    image = np.stack([(x * 3 + y) % 256, x * y // 7 % 256, (x // 8 + y // 8) % 2 * 255], -1).astype(np.uint8)
    digest = hashlib.sha256(mx.image.resize_short(image, 112).asnumpy().tobytes()).hexdigest()
    assert digest == "5153d18ec786b1b7bdd0499c2db9154d29c39d4f46fe46a8d3b22b07373aeeee"


@pytest.mark.parametrize("shape, short", [((201, 100), (225, 112)), ((100, 201), (112, 225)), ((90, 91), (112, 113))])
def test_longer_side_is_scaled_and_rounded_down(mx, shape, short):
    assert mx.image.resize_short(np.zeros((*shape, 3), np.uint8), 112).shape == (*short, 3)


def test_unsupported_resizes_are_rejected(mx):
    image = np.zeros((9, 9, 3), np.uint8)
    for wrong, interp in ((image, 1), (image.astype(np.float32), 2), (image[..., 0], 2)):
        with pytest.raises(ValueError, match="takes uint8 .H, W, C. and interp=2; got.*keep_mxnet"):
            mx.image.resize_short(wrong, 112, interp)


WITH_MXNET = """
import hashlib, json, sys
import numpy as np
from mxnet import image, nd, recordio
path = sys.argv[1]
file = recordio.MXIndexedRecordIO(path[:-3] + "idx", path, "r")
for key in file.keys:
    header, payload = recordio.unpack(file.read_idx(key))
    label = ["array", header.label.tolist()] if header.flag else [type(header.label).__name__, header.label]
    decoded = image.imdecode(payload)
    arrays = [decoded, image.resize_short(decoded, 112), nd.flip(data=nd.transpose(decoded, axes=(2, 0, 1)), axis=2)]
    digests = [[list(a.shape), hashlib.sha256(a.asnumpy().tobytes()).hexdigest()] for a in arrays]
    print(json.dumps([key, header.flag, label, header.id, header.id2, digests]))
"""


def dump(mx, rec_path):
    """The output of WITH_MXNET, computed with the stand-in."""
    records = opened(mx, rec_path.parent, rec_path.stem)
    for key in records.keys:
        header, payload = mx.recordio.unpack(records.read_idx(key))
        label = ["array", header.label.tolist()] if header.flag else [type(header.label).__name__, header.label]
        decoded = mx.image.imdecode(payload)
        mirrored = mx.nd.flip(data=mx.nd.transpose(decoded, axes=(2, 0, 1)), axis=2)
        arrays = [decoded, mx.image.resize_short(decoded, 112), mirrored]
        digests = [[list(array.shape), hashlib.sha256(array.asnumpy().tobytes()).hexdigest()] for array in arrays]
        yield [key, header.flag, label, header.id, header.id2, digests]


def test_standin_equals_mxnet(mx, tmp_path):
    interpreter = mxnet_python()
    rng = np.random.default_rng(0)
    sizes = [(112, 112), (250, 250), (224, 224), (56, 56), (64, 64), (96, 112), (160, 120), (13, 17), (300, 200), (113, 111)]
    with RecordWriter(tmp_path / "train.rec") as writer:
        for key in range(50):
            image = rng.integers(0, 256, (*sizes[key % len(sizes)], 3), np.uint8)
            # Pure black and white make the kernel overshoot; random levels exercise its rounding.
            image = image // 128 * 255 if key % 3 == 0 else image
            label = [float(key), 0.1] if key % 4 == 0 else float(key)
            writer.write(key, label, png(image) if key % 2 else encode_jpeg(image))
    done = subprocess.run(
        [interpreter, "-W", "ignore", "-c", WITH_MXNET, str(tmp_path / "train.rec")], capture_output=True, text=True, check=True
    )
    theirs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(theirs) == 50
    assert list(dump(mx, tmp_path / "train.rec")) == theirs
