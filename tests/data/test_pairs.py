"""Verification files of every origin, and hostile pickles."""

import io
import os
import pickle
import pickletools
import random
import struct
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.lowres import resize_faces
from aird_plugin.data.pairs import (
    Pairs,
    connected_components,
    distinct_faces,
    first_indices,
    identities_of,
    pair_faces,
    read_pairs,
    write_pairs,
)
from aird_plugin.data.safe_pickle import PickledArray, safe_load

FIXTURES = Path(__file__).parent / "mxnet"
IMAGE = bytes(range(256))
IMAGES = [IMAGE[i:] for i in range(4)]


def saved(tmp_path, content):
    path = tmp_path / "some.bin"
    path.write_bytes(content)
    return path


def pickled(tmp_path, images, same, protocol=4):
    return saved(tmp_path, pickle.dumps((images, same), protocol))


def assert_reads(path):
    pairs = read_pairs(path)
    assert pairs.images == IMAGES and all(type(image) is bytes for image in pairs.images)
    assert pairs.same.dtype == bool and pairs.same.tolist() == [True, False]


@pytest.mark.parametrize("name", [f"numpy1_protocol{p}.bin" for p in range(6)] + ["numpy1_flags.bin"])
def test_files_written_with_numpy_1(name):
    assert_reads(FIXTURES / name)


def as_column(image):
    return np.frombuffer(image, np.uint8).reshape(-1, 1)


def as_row(image):
    return np.frombuffer(image, np.uint8).copy()


FLAGS = {
    "bools": [True, False],
    "ints": [1, 0],
    "tuple": (True, False),
    "numpy_bools": [np.True_, np.False_],
    "numpy_ints": [np.int64(1), np.int64(0)],
    "array": np.array([True, False]),
    "big_endian": np.array([1, 0], ">i4"),
    "floats": [1.0, 0.0],
    "numpy_floats": [np.float32(1), np.float64(0)],
    "float_array": np.array([1.0, 0.0]),
    "object_array": np.array([True, 0], object),
    "column": np.array([[True], [False]]),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", [bytes, bytearray, as_column, as_row])
@pytest.mark.parametrize("flags", FLAGS)
def test_files_written_with_the_installed_numpy(tmp_path, protocol, kind, flags):
    assert_reads(pickled(tmp_path, [kind(image) for image in IMAGES], FLAGS[flags], protocol))
    assert_reads(pickled(tmp_path, tuple(kind(image) for image in IMAGES), FLAGS[flags], protocol))


def as_objects(images):
    array = np.empty(len(images), object)
    array[:] = images
    return array


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", [as_objects, np.array, lambda images: [np.bytes_(image) for image in images]])
def test_images_in_one_array(tmp_path, protocol, kind):
    """Upstream's load_bin takes them: `np.array(images)` of bytes, as objects or padded to one length."""
    assert_reads(pickled(tmp_path, kind(IMAGES), [True, False], protocol))
    rows = np.frombuffer(IMAGE, np.uint8)[None].repeat(4, 0)
    assert read_pairs(pickled(tmp_path, rows, [True, False], protocol)).images == [IMAGE] * 4


@pytest.mark.parametrize(
    ("images", "same", "reason"),
    [
        (IMAGES, [0.5, 1.0], "flag 0 is 0.5, neither true nor false"),
        (IMAGES, np.array([np.nan, 1]), "flag 0 is nan"),
        (IMAGES, np.array([[1, 0], [0, 1]]), r"an array of shape \(2, 2\), not a list"),
        (np.array(["text"] * 4), [True, False], "an array of type 'U4', not of bools, numbers or bytes"),
        (as_objects([*IMAGES[:3], 5]), [True, False], r"image 3 \(pair 1\) is 5, not bytes of an image file"),
        (as_objects(IMAGES).reshape(2, 2), [True, False], r"an array of shape \(2, 2\), not a list"),
    ],
)
def test_arrays_of_something_else_are_named(tmp_path, images, same, reason):
    with pytest.raises(ValueError, match=reason) as error:
        read_pairs(pickled(tmp_path, images, same))
    assert "PickledArray" not in str(error.value)


def test_a_single_pair(tmp_path):
    pairs = read_pairs(pickled(tmp_path, [as_column(IMAGE), as_row(IMAGE)], np.array([True])))
    assert pairs.images == [IMAGE, IMAGE] and pairs.same.tolist() == [True]


def python2_text(image):
    """A str as Python 2 writes it in protocol 0: its repr, with a trailing newline."""
    return b"S'" + b"".join(b"\\x%02x" % byte for byte in image) + b"'\n"


def python2_binary(image):
    return b"T" + struct.pack("<i", len(image)) + image


def test_python_2_protocol_0(tmp_path):
    images = b"".join(python2_text(image) + b"p%d\na" % index for index, image in enumerate(IMAGES, 2))
    assert_reads(saved(tmp_path, b"((lp1\n" + images + b"(lp8\nI01\naI00\natp9\n."))


def test_python_2_protocol_2(tmp_path):
    images = b"".join(python2_binary(image) + b"q%c" % index for index, image in enumerate(IMAGES, 2))
    assert_reads(saved(tmp_path, b"\x80\x02(]q\x01(" + images + b"e]q\x08(\x88\x89etq\x09."))
    short = b"".join(b"U\x03abc" for _ in IMAGES)
    pairs = read_pairs(saved(tmp_path, b"\x80\x02(](" + short + b"e](\x88\x89et."))
    assert pairs.images == [b"abc"] * 4


def test_python_2_bytearrays(tmp_path):
    """Python 2 pickles a bytearray as text in latin-1, under its own module names."""
    text = IMAGE.decode("latin-1").encode()
    one = b"c__builtin__\nbytearray\n(X" + struct.pack("<i", len(text)) + text + b"U\x07latin-1tR"
    pairs = read_pairs(saved(tmp_path, b"\x80\x02(](" + one + one + b"e](\x88et."))
    assert pairs.images == [IMAGE, IMAGE]


def test_written_files_use_plain_protocol_3(tmp_path):
    write_pairs(tmp_path / "a.bin", IMAGES, np.array([True, False]))
    content = (tmp_path / "a.bin").read_bytes()
    opcodes = {opcode.name for opcode, _, _ in pickletools.genops(content)}
    assert not opcodes & {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "NEWOBJ", "FRAME"}
    assert content[:2] == b"\x80\x03"
    assert pickle.loads(content, encoding="bytes") == (IMAGES, [True, False])
    assert_reads(tmp_path / "a.bin")


@pytest.mark.parametrize(
    "images, same, reason",
    [
        (IMAGES[:3], [True, False], "3 images for 2 flags"),
        ([], [], "0 images for 0 flags"),
        ([*IMAGES[:3], b""], [True, False], "image 3 must be the bytes"),
        ([*IMAGES[:3], bytearray(b"x")], [True, False], "image 3 must be the bytes"),
    ],
)
def test_invalid_pairs_are_not_written(tmp_path, images, same, reason):
    write_pairs(tmp_path / "a.bin", IMAGES, [1, 0])
    with pytest.raises(ValueError, match=reason):
        write_pairs(tmp_path / "a.bin", images, same)
    assert_reads(tmp_path / "a.bin")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


class Runs:
    """Pickles to a program that creates a file when it is executed."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def by_hand(path):
    """One hostile program for each way in which a pickle can execute code."""
    command = f"touch {path}"
    reduced = [pickle.dumps(Runs(os.system, command), protocol) for protocol in range(6)]
    reduced.append(pickle.dumps(Runs(eval, f"__import__('os').system({command!r})"), 2))
    reduced.append(pickle.dumps(Runs(subprocess.call, ["touch", path]), 2))
    text = command.encode()
    return {
        **{f"reduce {index}": content for index, content in enumerate(reduced)},
        "inst": b"(S'" + text + b"'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nS'" + text + b"'\no.",
        "newobj": b"\x80\x02cos\nsystem\n(S'" + text + b"'\nt\x81.",
        "in a list": b"(lp0\n(S'" + text + b"'\nios\nsystem\na.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"Psome\n.",
        "dotted": b"\x80\x04\x8c\x05numpy\x8c\x0fos.system.thing\x93.",
        "getattr": b"c__builtin__\ngetattr\n(cnumpy\nndarray\nS'tofile'\ntR.",
        "class state": b"cnumpy\nndarray\n(dS'build'\ncos\nsystem\nsb.",
        "stand-in state": b"cnumpy\nndarray\nN(dS'build'\nI1\ns\x86b.",
        "list state": b"(l(dS'append'\nI1\nsb.",
    }


@pytest.mark.parametrize("way", by_hand(""))
def test_hostile_pickles_do_not_run(tmp_path, way):
    """Each program runs under pickle.load, or at least no valid file needs it; `read_pairs` rejects it."""
    trace = tmp_path / "trace"
    path = saved(tmp_path, by_hand(trace)[way])
    with pytest.raises(ValueError, match="some.bin is no InsightFace pairs file: .*copy it again"):
        read_pairs(path)
    assert not trace.exists()
    assert_reads(FIXTURES / "numpy1_protocol4.bin")


def test_the_hostile_pickle_runs_under_pickle_load(tmp_path):
    pickle.loads(by_hand(tmp_path / "trace")["reduce 2"])
    assert (tmp_path / "trace").exists()


def test_a_hostile_memo_takes_no_memory(tmp_path):
    path = saved(tmp_path, b"\x80\x02(](U\x01ar\xff\xff\xff\x7fU\x01be](\x88et.")
    assert read_pairs(path).images == [b"a", b"b"]
    for opcode in (b"\x96", b"\x8e"):
        path = saved(tmp_path, b"\x80\x05(](" + opcode + struct.pack("<Q", 1 << 29) + b"abce](\x88et.")
        tracemalloc.start()
        with pytest.raises(ValueError, match="truncated"):
            read_pairs(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


def test_a_repeated_image_is_stored_once(tmp_path):
    pairs = read_pairs(pickled(tmp_path, [bytearray(IMAGE)] * 1000, [True] * 500))
    assert len(pairs.images) == 1000 and len(set(map(id, pairs.images))) == 1


@pytest.mark.parametrize("kind", ["image", "flag"])
def test_a_deeply_nested_value_is_reported(tmp_path, kind):
    deep, image, true = b"]" * 5000 + b"a" * 4999, b"U\x01a", b"\x88"
    first, flag = (deep, true) if kind == "image" else (image, deep)
    program = b"\x80\x02(](" + first + image + b"e](" + flag + b"et."
    with pytest.raises(ValueError, match=f"{kind} 0 .*is a list"):
        read_pairs(saved(tmp_path, program))


def test_an_array_with_an_invalid_shape_is_rejected(tmp_path):
    kind = b"cnumpy\ndtype\n(U\x02u1tR"
    array = b"cnumpy.core.numeric\n_frombuffer\n(U\x01a" + kind + b"(U\x01xtU\x01CtR"
    with pytest.raises(ValueError, match="shape is not a list of integers"):
        read_pairs(saved(tmp_path, b"\x80\x02(](" + array + array + b"e](\x88et."))


@pytest.mark.parametrize("program", [b"(inumpy\nndarray\n.", b"(cnumpy\nndarray\no.", b"\x80\x02cnumpy\nndarray\n)\x81."])
def test_other_object_opcodes_are_rejected(program):
    assert isinstance(safe_load(b"cnumpy\nndarray\n)R."), PickledArray)
    with pytest.raises(ValueError, match="truncated or damaged"):
        safe_load(program)


@pytest.mark.parametrize(
    "content, reason",
    [
        ((IMAGES[:3], [True, False]), "3 images for 2 flags"),
        ((IMAGES, [True]), "4 images for 1 flags"),
        (([], []), "0 images for 0 flags"),
        ((IMAGES, [True, 2]), "flag 1 is 2"),
        ((IMAGES, [True, None]), "flag 1 is None"),
        ((IMAGES, [True, "False"]), "flag 1 is 'False'"),
        ((IMAGES, [True, [False]]), "flag 1 is a list"),
        ((["text", *IMAGES[1:]], [True, False]), "image 0 .pair 0. is 'text'"),
        ((IMAGES[:3] + [b""], [True, False]), "image 3 .pair 1. is b''"),
        ((IMAGES[:2] + [None, None], [True, False]), "image 2 .pair 1. is None"),
        (([np.zeros((112, 112, 3), np.uint8)] * 4, [True, False]), "shape .112, 112, 3., not a list"),
        (([np.zeros(3)] * 4, [True, False]), "image as an array of float64"),
        (([np.zeros(3, np.int64)] * 4, [True, False]), "image as an array of int64"),
        ({"images": IMAGES}, "holds a dict, not two lists"),
        (IMAGES, "holds a list, not two lists"),
        ((IMAGES, [True, False], 1), "holds a tuple, not two lists"),
        ((5, [True, False]), "a int and a list, not two lists"),
    ],
)
def test_other_contents_are_rejected(tmp_path, content, reason):
    with pytest.raises(ValueError, match=f"some.bin is no InsightFace pairs file: .*({reason})"):
        read_pairs(saved(tmp_path, pickle.dumps(content)))


def test_truncated_and_damaged_files(tmp_path):
    rng = random.Random(0)
    content = (FIXTURES / "numpy1_protocol2.bin").read_bytes()
    for size in range(0, len(content), 7):
        with pytest.raises(ValueError, match="some.bin is no InsightFace pairs file"):
            read_pairs(saved(tmp_path, content[:size]))
    for _ in range(500):
        broken = bytearray(rng.choice([content, (FIXTURES / "numpy1_protocol5.bin").read_bytes()]))
        for _ in range(rng.randrange(1, 6)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        try:
            pairs = read_pairs(saved(tmp_path, broken))
            assert len(pairs.images) == 2 * len(pairs.same)
        except ValueError as error:
            assert "some.bin is no InsightFace pairs file" in str(error)
    with pytest.raises(FileNotFoundError, match="no pairs file"):
        read_pairs(tmp_path / "none.bin")


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_pair_faces_decodes_and_resizes(noise_faces):
    images = noise_faces(3)
    small = resize_faces(images[2:], 16)[0]
    pairs = Pairs([png(images[0]), png(images[1]), png(images[0]), png(small)], np.array([True, False]))
    out = pair_faces(pairs)
    assert out.shape == (4, 112, 112, 3) and out.dtype == np.uint8
    upsampled = np.asarray(Image.fromarray(small).resize((112, 112), Image.Resampling.BICUBIC))
    assert (out == np.stack([images[0], images[1], images[0], upsampled])).all()


def test_distinct_faces_holds_each_image_once(noise_faces):
    one, two, three = map(png, noise_faces(3))
    pairs = Pairs([two, one, two, two, three, one], np.array([True, False, True]))
    images, face_2N = distinct_faces(pairs)
    assert np.array_equal(images, noise_faces(3)[[1, 0, 2]]) and face_2N.tolist() == [0, 1, 0, 0, 2, 1]
    assert np.array_equal(pair_faces(pairs), images[face_2N])


def test_a_repeated_image_is_decoded_once(noise_faces, monkeypatch):
    decoded = []
    real = pair_faces.__globals__["decode"]
    monkeypatch.setitem(pair_faces.__globals__, "decode", lambda *a: decoded.append(1) or real(*a))
    pair_faces(Pairs([encode_jpeg(noise_faces(1)[0])] * 20, np.zeros(10, bool)))
    assert len(decoded) == 1


def test_invalid_images_are_named_by_pair(noise_faces):
    good = encode_jpeg(noise_faces(1)[0])
    for index, bad, reason in (
        (3, good[: len(good) // 2], "pair 1, second image: "),
        (2, b"no image", "pair 1, first image: 8 bytes"),
        (0, png(np.zeros((20, 16, 3), np.uint8)), "pair 0, first image: 16x20 pixels; only square images are allowed"),
    ):
        images = [good] * 4
        images[index] = bad
        with pytest.raises(ValueError, match=reason):
            pair_faces(Pairs(images, np.zeros(2, bool)))


@pytest.mark.parametrize("name, count", [("lfw", 6000), ("lfw_view1", 1000), ("lfw_folds9_10", 1200), ("lfw_split", 3240)])
def test_real_files(aird_data, name, count):
    pairs = read_pairs(aird_data / "lfw" / f"{name}.bin")
    assert len(pairs.same) == count and pairs.same.sum() == count // 2
    assert all(image.startswith(b"\xff\xd8\xff") for image in pairs.images)
    images = pair_faces(Pairs(pairs.images[:20], pairs.same[:10]))
    assert images.shape == (20, 112, 112, 3) and images.std() > 20


def test_first_indices():
    assert first_indices([b"a", b"b", b"a", b"c", b"b"]).tolist() == [0, 1, 0, 3, 1]


def test_connected_components_are_transitive():
    representative = connected_components([1, 2, 3, 4, 5, 6], [(1, 2), (5, 6), (2, 6), (3, 3)])
    assert len({representative[item] for item in (1, 2, 5, 6)}) == 1 and len(set(representative.values())) == 3


def test_identities_are_components_of_same_pairs():
    # One image is in pairs 0, 1 and 4; pairs 1 and 2 share another; a "different" pair connects nothing.
    face_2N, same_N = np.array([0, 1, 0, 3, 4, 3, 6, 7, 8, 0, 10, 11]), np.array([1, 1, 1, 0, 0, 1], bool)
    label_2N = identities_of(face_2N, same_N)
    assert np.unique(label_2N, return_inverse=True)[1].tolist() == [0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 4, 4]


def test_a_chain_in_any_order_is_one_identity():
    chain = np.random.default_rng(7).permutation(5000)
    face_2N = np.stack([chain[:-1], chain[1:]], axis=1).ravel()
    assert len(np.unique(identities_of(face_2N, np.ones(4999, bool)))) == 1
