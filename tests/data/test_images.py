"""Decoding, encoding, and invalid image files."""

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

from aird_plugin.data.images import FILE_FORMATS, decode, encode_jpeg, face_file
from tests.skips import mxnet_python

SCRIPT = Path(__file__).parent / "mxnet" / "decode_images.py"


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def source(noise_faces):
    return Image.fromarray(noise_faces(1, side=48)[0])


def zoo(source):
    """Name -> file bytes of formats that occur in face data sets, and of possible ones."""
    rng = np.random.default_rng(0)
    rotated = Image.Exif()
    rotated[0x112] = 6
    noise = rng.integers(0, 256, (48, 48, 4), np.uint8)
    palette = source.convert("P")
    return {
        "plain.jpg": saved(source, "JPEG", quality=95),
        "full_chroma.jpg": saved(source, "JPEG", subsampling="4:4:4"),
        "progressive.jpg": saved(source, "JPEG", progressive=True),
        "grey.jpg": saved(source.convert("L"), "JPEG"),
        "rotated.jpg": saved(source.crop((0, 0, 48, 32)), "JPEG", exif=rotated),
        "plain.png": saved(source, "PNG"),
        "grey.png": saved(source.convert("L"), "PNG"),
        "grey16.png": saved(Image.fromarray(rng.integers(0, 65536, (48, 48), np.uint16)), "PNG"),
        "bilevel.png": saved(source.convert("1"), "PNG"),
        "alpha.png": saved(Image.fromarray(noise), "PNG"),
        "grey_alpha.png": saved(Image.fromarray(noise).convert("LA"), "PNG"),
        "palette.png": saved(palette, "PNG"),
        "palette_key.png": saved(palette, "PNG", transparency=3),
        "palette_alpha.png": saved(palette, "PNG", transparency=bytes(range(256))),
        "plain.bmp": saved(source, "BMP"),
        "palette.bmp": saved(palette, "BMP"),
    }


def test_every_format_decodes_to_rgb(source):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = {name: decode(content, name) for name, content in zoo(source).items()}
    for name, image in images.items():
        assert image.shape == ((32 if name == "rotated.jpg" else 48), 48, 3) and image.dtype == np.uint8, name
        assert image.flags.writeable
    rgb = np.asarray(source)
    for name in ("plain.png", "plain.bmp"):
        assert (images[name] == rgb).all()
    assert (images["grey.png"] == np.asarray(source.convert("L"))[..., None]).all()
    assert np.abs(images["plain.jpg"].astype(int) - rgb).mean() < 15
    assert (decode(saved(source, "WEBP", lossless=True), "") == rgb).all()


def test_16_bit_grey_keeps_the_high_byte():
    grey = np.array([[0, 255, 256, 0x7FFF, 0x8000, 0xFFFF]], np.uint16)
    image = decode(saved(Image.fromarray(grey), "PNG"), "here")
    assert image[0, :, 0].tolist() == [0, 0, 1, 0x7F, 0x80, 0xFF]


def test_alpha_is_dropped():
    image = decode(saved(Image.new("RGBA", (2, 2), (10, 20, 30, 0)), "PNG"), "here")
    assert (image == (10, 20, 30)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_only_on_request(orientation, noise_faces):
    """Each of the eight orientations matches Pillow's transpose."""
    kinds = Image.Transpose
    undone = [
        None,
        kinds.FLIP_LEFT_RIGHT,
        kinds.ROTATE_180,
        kinds.FLIP_TOP_BOTTOM,
        kinds.TRANSPOSE,
        kinds.ROTATE_270,
        kinds.TRANSVERSE,
        kinds.ROTATE_90,
    ][orientation - 1]
    stored = Image.fromarray(noise_faces(1, side=48)[0][:32])
    exif = Image.Exif()
    exif[0x112] = orientation
    content = saved(stored, "PNG", exif=exif)
    assert np.array_equal(decode(content, "here"), np.asarray(stored))
    wanted = stored if undone is None else stored.transpose(undone)
    assert np.array_equal(decode(content, "here", upright=True), np.asarray(wanted))


def test_a_damaged_exif_entry_costs_no_photo(noise_faces):
    """Of a turned photo: Pillow's own `exif_transpose` writes all entries again, and raises for one of a wrong type."""
    exif = Image.Exif()
    exif[0x112], exif[0x11A] = 6, 72.0
    content = bytearray(saved(Image.fromarray(noise_faces(1)[0][:80]), "JPEG", exif=exif))
    # The resolution's type: text (2) in place of a rational number (5).
    at = content.index(b"\x01\x1a\x00\x05")
    content[at : at + 4] = b"\x01\x1a\x00\x02"
    upright_HWC = decode(bytes(content), "here", upright=True)
    assert np.array_equal(upright_HWC, np.rot90(decode(bytes(content), "here"), -1))


def test_decode_matches_mxnet(source, tmp_path):
    interpreter = mxnet_python()
    files = zoo(source)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    command = [interpreter, "-W", "ignore", str(SCRIPT), *(str(tmp_path / name) for name in files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for (name, content), line in zip(files.items(), done.stdout.splitlines(), strict=True):
        image = decode(content, name)
        assert [list(image.shape), hashlib.sha256(image.tobytes()).hexdigest()] == json.loads(line), name


@pytest.mark.parametrize("content", [b"", b"no image", b"GIF89a" + bytes(99), b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_non_images_are_rejected_by_name(content):
    with pytest.raises(ValueError, match=f"here: {len(content)} bytes that are no readable image: not JPEG, PNG"):
        decode(content, "here")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM"])
def test_other_formats_are_rejected(source, kind):
    with pytest.raises(ValueError, match="here: .*not JPEG, PNG, BMP, WEBP"):
        decode(saved(source, kind), "here")


def test_truncated_images_are_rejected_by_name(source):
    for name, content in zoo(source).items():
        for share in (0.05, 0.5, 0.9):
            with pytest.raises(ValueError, match=f"^{name}: "):
                decode(content[: int(len(content) * share)], name)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_images_decode_or_raise_value_error(source):
    rng = random.Random(0)
    files = list(zoo(source).values())
    for _ in range(400):
        content = bytearray(rng.choice(files))
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
    with pytest.raises(ValueError, match="here: .*(at most 67108864 in total|decompression bomb)"):
        decode(bomb, "here")


def claiming(side, payload, start):
    """Return the JPEG with another size in its frame header."""
    at = payload.index(start) + 5
    return payload[:at] + struct.pack(">HH", side, side) + payload[at + 4 :]


@pytest.mark.parametrize("side", [8200, 65500])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_jpeg_bomb_is_rejected_before_decoding(side):
    bomb = claiming(side, saved(Image.new("RGB", (16, 16)), "JPEG"), b"\xff\xc0")
    with pytest.raises(ValueError, match="here: .*(at most 67108864 in total|decompression bomb)"):
        decode(bomb, "here")


def test_a_jpeg_with_too_many_scans_is_rejected(noise_faces):
    """A thousand scans of a hundred bytes each over 64 million pixels; decoding would take eight minutes."""
    sound = saved(Image.fromarray(noise_faces(1)[0]), "JPEG", progressive=True)
    last = sound[sound.rindex(b"\xff\xda") : -2]
    many = sound[:-2] + last * 1000 + sound[-2:]
    assert decode(many, "here").shape == (112, 112, 3)
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"here: .*8000x8000 pixels in 1010 scans"):
        decode(claiming(8000, many, b"\xff\xc2"), "here")
    assert time.monotonic() < started + 5


def test_jpeg_round_trip(noise_faces):
    smooth = np.asarray(Image.fromarray(noise_faces(1)[0]).resize((28, 28)).resize((112, 112)))
    fine, coarse = encode_jpeg(smooth), encode_jpeg(smooth, quality=30)
    assert len(coarse) < len(fine)
    assert np.abs(decode(fine, "").astype(int) - smooth).mean() < 3
    assert encode_jpeg(smooth) == fine
    for wrong in (smooth[None], smooth[..., 0], smooth.astype(float)):
        with pytest.raises(ValueError, match="uint8 \\(H, W, 3\\)"):
            encode_jpeg(wrong)


def test_a_file_of_matching_size_and_format_is_kept(noise_faces, tmp_path):
    image = Image.fromarray(noise_faces(1)[0])
    for name in ("a.jpg", "a.png"):
        image.save(tmp_path / name)
    jpeg, png = (tmp_path / "a.jpg").read_bytes(), (tmp_path / "a.png").read_bytes()
    assert face_file(tmp_path / "a.jpg") == jpeg
    assert face_file(tmp_path / "a.png", keep=("JPEG", "PNG")) == png
    assert face_file(tmp_path / "a.png") == encode_jpeg(np.asarray(image))
    with pytest.raises(ValueError, match="a.jpg has 112x112 pixels, expected 64x64; --resize"):
        face_file(tmp_path / "a.jpg", size=64)
    assert decode(face_file(tmp_path / "a.jpg", size=64, resize=True), "").shape == (64, 64, 3)
    small = image.resize((64, 64), Image.Resampling.BICUBIC)
    assert face_file(tmp_path / "a.png", size=64, resize=True) == encode_jpeg(np.asarray(small))
    image.resize((112, 96)).save(tmp_path / "wide.png")
    with pytest.raises(ValueError, match="wide.png has 112x96 pixels, expected 112x112; crop it"):
        face_file(tmp_path / "wide.png", resize=True)


def by_pillow(payload):
    with Image.open(io.BytesIO(payload)) as image:
        return np.array(image.convert("RGB"))


JPEGS = [
    {"mode": mode, "quality": quality, "progressive": progressive, "restart_marker_blocks": restart} | more
    for mode, more in [
        ("RGB", {"subsampling": "4:4:4"}),
        ("RGB", {"subsampling": "4:2:2"}),
        ("RGB", {"subsampling": "4:2:0"}),
        ("RGB", {"keep_rgb": True}),
        ("L", {}),
        ("CMYK", {}),
    ]
    for quality in (1, 75, 100)
    for progressive in (False, True)
    for restart in (0, 2)
]


@pytest.mark.parametrize("side", [112, 111, 7])
def test_jpeg_decoding_equals_pillow(noise_faces, side):
    """Bit for bit, with either of the two decoders."""
    image = Image.fromarray(noise_faces(1, 128)[0][: side + 3, :side])
    for options in JPEGS:
        payload = saved(image.convert(options["mode"]), "JPEG", **{key: value for key, value in options.items() if key != "mode"})
        assert np.array_equal(decode(payload, "an image"), by_pillow(payload)), options


def test_damaged_jpegs_decode_as_in_pillow(noise_faces):
    """The faster decoder accepts nothing that Pillow rejects, and where both accept a file they agree."""
    sound, rng, taken = saved(Image.fromarray(noise_faces(1)[0]), "JPEG"), np.random.default_rng(0), 0
    for _ in range(300):
        broken = bytearray(sound)
        for place in rng.integers(2, len(sound), 2):
            broken[place] = rng.integers(256)
        payload = bytes(broken[: rng.integers(3, len(broken))] if rng.random() < 0.3 else broken)
        try:
            image = decode(payload, "an image")
        except ValueError:
            continue
        taken += 1
        assert np.array_equal(image, by_pillow(payload))
    assert taken > 50


def test_tiff_ppm_and_gif_are_read_from_files_of_the_user_only(source):
    """Uploads and records stay with four formats, whose decoders are fuzzed."""
    rgb = np.asarray(source)
    for kind in ("TIFF", "PPM"):
        assert (decode(saved(source, kind), "", formats=FILE_FORMATS) == rgb).all()
        with pytest.raises(ValueError, match="not JPEG, PNG, BMP, WEBP"):
            decode(saved(source, kind), "")
    palette = source.convert("P")
    assert (decode(saved(palette, "GIF"), "", formats=FILE_FORMATS) == np.asarray(palette.convert("RGB"))).all()


def test_sixteen_bits_keep_their_high_byte_in_every_format():
    deep = np.random.default_rng(0).integers(0, 65536, (16, 16), np.uint16)
    for kind in ("PNG", "TIFF", "PPM"):
        image_HWC = decode(saved(Image.fromarray(deep), kind), "", formats=FILE_FORMATS)
        assert (image_HWC == (deep >> 8)[:, :, None]).all(), kind


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_of_unknown_range_are_refused(dtype):
    image = Image.fromarray(np.ones((16, 16), dtype))
    with pytest.raises(ValueError, match="TIFF with pixels that are no 8 or 16 bit numbers; convert it to 8 bits"):
        decode(saved(image, "TIFF"), "x.tif", formats=FILE_FORMATS)


def test_the_first_frame_is_read(source, noise_faces):
    other = Image.fromarray(noise_faces(1, side=48, seed=3)[0])
    for kind in ("TIFF", "GIF"):
        file = saved(source, kind, save_all=True, append_images=[other])
        assert (decode(file, "", formats=FILE_FORMATS) == decode(saved(source, kind), "", formats=FILE_FORMATS)).all()
