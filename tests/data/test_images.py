"""Decoding, encoding, and pictures that are none."""

import hashlib
import io
import json
import random
import struct
import subprocess
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aird_plugin.data.images import decode, encode_jpeg, face_file
from tests.skips import mxnet_python

SCRIPT = Path(__file__).parent / "mxnet" / "decode_images.py"


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def picture(noise_faces):
    return Image.fromarray(noise_faces(1, side=48)[0])


def zoo(picture):
    """Name -> file bytes: what turns up in face data sets, and what could."""
    rng = np.random.default_rng(0)
    rotated = Image.Exif()
    rotated[0x112] = 6
    noise = rng.integers(0, 256, (48, 48, 4), np.uint8)
    palette = picture.convert("P")
    return {
        "plain.jpg": saved(picture, "JPEG", quality=95),
        "full_chroma.jpg": saved(picture, "JPEG", subsampling="4:4:4"),
        "progressive.jpg": saved(picture, "JPEG", progressive=True),
        "grey.jpg": saved(picture.convert("L"), "JPEG"),
        "rotated.jpg": saved(picture.crop((0, 0, 48, 32)), "JPEG", exif=rotated),
        "plain.png": saved(picture, "PNG"),
        "grey.png": saved(picture.convert("L"), "PNG"),
        "grey16.png": saved(Image.fromarray(rng.integers(0, 65536, (48, 48), np.uint16)), "PNG"),
        "bilevel.png": saved(picture.convert("1"), "PNG"),
        "alpha.png": saved(Image.fromarray(noise), "PNG"),
        "grey_alpha.png": saved(Image.fromarray(noise).convert("LA"), "PNG"),
        "palette.png": saved(palette, "PNG"),
        "palette_key.png": saved(palette, "PNG", transparency=3),
        "palette_alpha.png": saved(palette, "PNG", transparency=bytes(range(256))),
        "plain.bmp": saved(picture, "BMP"),
        "palette.bmp": saved(palette, "BMP"),
    }


def test_every_picture_becomes_rgb(picture):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        faces = {name: decode(content, name) for name, content in zoo(picture).items()}
    for name, face in faces.items():
        assert face.shape == ((32 if name == "rotated.jpg" else 48), 48, 3) and face.dtype == np.uint8, name
        assert face.flags.writeable
    rgb = np.asarray(picture)
    for name in ("plain.png", "plain.bmp"):
        assert (faces[name] == rgb).all()
    assert (faces["grey.png"] == np.asarray(picture.convert("L"))[..., None]).all()
    assert np.abs(faces["plain.jpg"].astype(int) - rgb).mean() < 15
    assert (decode(saved(picture, "WEBP", lossless=True), "") == rgb).all()


def test_sixteen_bits_of_grey_keep_the_high_byte():
    grey = np.array([[0, 255, 256, 0x7FFF, 0x8000, 0xFFFF]], np.uint16)
    face = decode(saved(Image.fromarray(grey), "PNG"), "here")
    assert face[0, :, 0].tolist() == [0, 0, 1, 0x7F, 0x80, 0xFF]


def test_alpha_is_dropped_not_mixed():
    face = decode(saved(Image.new("RGBA", (2, 2), (10, 20, 30, 0)), "PNG"), "here")
    assert (face == (10, 20, 30)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_upright_on_request_alone(orientation, noise_faces):
    """What Pillow's own turns make of each of the eight orientations."""
    kinds = Image.Transpose
    undone = [None, kinds.FLIP_LEFT_RIGHT, kinds.ROTATE_180, kinds.FLIP_TOP_BOTTOM, kinds.TRANSPOSE, kinds.ROTATE_270,
              kinds.TRANSVERSE, kinds.ROTATE_90][orientation - 1]  # fmt: skip
    stored = Image.fromarray(noise_faces(1, side=48)[0][:32])
    exif = Image.Exif()
    exif[0x112] = orientation
    content = saved(stored, "PNG", exif=exif)
    assert np.array_equal(decode(content, "here"), np.asarray(stored))
    wanted = stored if undone is None else stored.transpose(undone)
    assert np.array_equal(decode(content, "here", upright=True), np.asarray(wanted))


def test_mxnet_decodes_the_same(picture, tmp_path):
    interpreter = mxnet_python()
    pictures = zoo(picture)
    for name, content in pictures.items():
        (tmp_path / name).write_bytes(content)
    command = [interpreter, "-W", "ignore", str(SCRIPT), *(str(tmp_path / name) for name in pictures)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for (name, content), line in zip(pictures.items(), done.stdout.splitlines(), strict=True):
        face = decode(content, name)
        assert [list(face.shape), hashlib.sha256(face.tobytes()).hexdigest()] == json.loads(line), name


@pytest.mark.parametrize("content", [b"", b"no image", b"GIF89a" + bytes(99), b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_image_is_refused_by_name(content):
    with pytest.raises(ValueError, match=f"here: {len(content)} bytes that are no readable image: not JPEG, PNG"):
        decode(content, "here")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM"])
def test_other_formats_are_not_even_tried(picture, kind):
    with pytest.raises(ValueError, match="here: .*not JPEG, PNG, BMP, WEBP"):
        decode(saved(picture, kind), "here")


def test_truncated_pictures_are_refused_by_name(picture):
    for name, content in zoo(picture).items():
        for share in (0.05, 0.5, 0.9):
            with pytest.raises(ValueError, match=f"^{name}: "):
                decode(content[: int(len(content) * share)], name)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_pictures_give_a_face_or_a_value_error(picture):
    rng = random.Random(0)
    pictures = list(zoo(picture).values())
    for _ in range(400):
        content = bytearray(rng.choice(pictures))
        for _ in range(rng.randrange(1, 9)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        try:
            assert decode(bytes(content), "here").shape[2] == 3
        except ValueError as error:
            assert str(error).startswith("here: ")


@pytest.mark.parametrize("side", [8200, 30000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(side):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    with pytest.raises(ValueError, match="here: .*(allowed are 67108864|decompression bomb)"):
        decode(bomb, "here")


def claiming(side, payload, start):
    """The JPEG with another size in its frame header."""
    at = payload.index(start) + 5
    return payload[:at] + struct.pack(">HH", side, side) + payload[at + 4 :]


@pytest.mark.parametrize("side", [8200, 65500])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_jpeg_bomb_is_refused_before_it_is_unpacked(side):
    bomb = claiming(side, saved(Image.new("RGB", (16, 16)), "JPEG"), b"\xff\xc0")
    with pytest.raises(ValueError, match="here: .*(allowed are 67108864|decompression bomb)"):
        decode(bomb, "here")


def test_a_jpeg_of_scans_without_end_is_refused(noise_faces):
    """A thousand scans of a hundred bytes each over 64 million pixels: eight minutes, if it were decoded."""
    sound = saved(Image.fromarray(noise_faces(1)[0]), "JPEG", progressive=True)
    last = sound[sound.rindex(b"\xff\xda") : -2]
    many = sound[:-2] + last * 1000 + sound[-2:]
    assert decode(many, "here").shape == (112, 112, 3)
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"here: .*8000x8000 pixels in 1010 scans"):
        decode(claiming(8000, many, b"\xff\xc2"), "here")
    assert time.monotonic() < started + 5


def test_jpeg_there_and_back(noise_faces):
    smooth = np.asarray(Image.fromarray(noise_faces(1)[0]).resize((28, 28)).resize((112, 112)))
    fine, coarse = encode_jpeg(smooth), encode_jpeg(smooth, quality=30)
    assert len(coarse) < len(fine)
    assert np.abs(decode(fine, "").astype(int) - smooth).mean() < 3
    assert encode_jpeg(smooth) == fine
    for wrong in (smooth[None], smooth[..., 0], smooth.astype(float)):
        with pytest.raises(ValueError, match="uint8 \\(H, W, 3\\)"):
            encode_jpeg(wrong)


def test_a_file_of_the_right_kind_is_kept_as_it_is(noise_faces, tmp_path):
    face = Image.fromarray(noise_faces(1)[0])
    for name in ("a.jpg", "a.png"):
        face.save(tmp_path / name)
    jpeg, png = (tmp_path / "a.jpg").read_bytes(), (tmp_path / "a.png").read_bytes()
    assert face_file(tmp_path / "a.jpg") == jpeg
    assert face_file(tmp_path / "a.png", keep=("JPEG", "PNG")) == png
    assert face_file(tmp_path / "a.png") == encode_jpeg(np.asarray(face))
    with pytest.raises(ValueError, match="a.jpg has 112x112 pixels, expected 64x64; --resize"):
        face_file(tmp_path / "a.jpg", size=64)
    assert decode(face_file(tmp_path / "a.jpg", size=64, resize=True), "").shape == (64, 64, 3)
    small = face.resize((64, 64), Image.Resampling.BICUBIC)
    assert face_file(tmp_path / "a.png", size=64, resize=True) == encode_jpeg(np.asarray(small))
    face.resize((112, 96)).save(tmp_path / "wide.png")
    with pytest.raises(ValueError, match="wide.png has 112x96 pixels, expected 112x112; crop it"):
        face_file(tmp_path / "wide.png", resize=True)


def by_pillow(payload):
    with Image.open(io.BytesIO(payload)) as image:
        return np.array(image.convert("RGB"))


JPEGS = [
    {"mode": mode, "quality": quality, "progressive": progressive, "restart_marker_blocks": restart} | more
    for mode, more in [("RGB", {"subsampling": "4:4:4"}), ("RGB", {"subsampling": "4:2:2"}), ("RGB", {"subsampling": "4:2:0"}),
                       ("RGB", {"keep_rgb": True}), ("L", {}), ("CMYK", {})]
    for quality in (1, 75, 100) for progressive in (False, True) for restart in (0, 2)
]  # fmt: skip


@pytest.mark.parametrize("side", [112, 111, 7])
def test_every_jpeg_is_decoded_as_pillow_does(noise_faces, side):
    """Bit for bit, whichever of the two decoders took it."""
    face = Image.fromarray(noise_faces(1, 128)[0][: side + 3, :side])
    for options in JPEGS:
        payload = saved(face.convert(options["mode"]), "JPEG", **{key: value for key, value in options.items() if key != "mode"})
        assert np.array_equal(decode(payload, "a face"), by_pillow(payload)), options


def test_a_damaged_jpeg_is_what_pillow_makes_of_it(noise_faces):
    """The faster decoder takes nothing that Pillow refuses, and where both take it they agree."""
    sound, rng, taken = saved(Image.fromarray(noise_faces(1)[0]), "JPEG"), np.random.default_rng(0), 0
    for _ in range(300):
        broken = bytearray(sound)
        for place in rng.integers(2, len(sound), 2):
            broken[place] = rng.integers(256)
        payload = bytes(broken[: rng.integers(3, len(broken))] if rng.random() < 0.3 else broken)
        try:
            face = decode(payload, "a face")
        except ValueError:
            continue
        taken += 1
        assert np.array_equal(face, by_pillow(payload))
    assert taken > 50
