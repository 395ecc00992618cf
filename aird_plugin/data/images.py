"""Decode and encode image files. Images of face data sets decode as in MXNet, bit for bit."""

import io
import re
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, UnidentifiedImageError

from aird_plugin.data.constants import FACE_SIDE

# Of data sets and of uploads; a user's own files may also have the further ones, whose decoders read more than anybody uploads.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
FILE_FORMATS = (*FORMATS, "TIFF", "PPM", "GIF")
SIGNATURES = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n"}
# First bytes of the formats that FILE_FORMATS has beyond FORMATS.
FURTHER_SIGNATURES = re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+|GIF8|P[1-7fF][ \t\r\n]")
MAX_PIXELS = 1 << 26
# Of HEIC and AVIF, in bytes 8 to 11 of a file.
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis")
# TIFF's tag of the bits of each channel.
TIFF_BITS = 258
# EXIF orientation -> what undoes it.
TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Each scan of a progressive JPEG covers all pixels again and may take only a hundred bytes. A regular file has about ten scans.
SCAN, MAX_SCANNED_PIXELS = b"\xff\xda", 1 << 30
# For these simplejpeg returns the same pixels as Pillow in half the time; it rounds CMYK differently.
COLOR_SPACES = ("YCbCr", "Gray", "RGB")


def decode(payload: bytes, where: str, *, upright: bool = False, formats: tuple[str, ...] = FORMATS) -> np.ndarray:
    """JPEG, PNG, BMP or WebP bytes -> uint8 (H, W, 3), RGB. Grey and palette images become RGB, alpha is dropped.

    upright: apply the EXIF orientation, for photos. Aligned images ignore it, as MXNet does (cv2 applies it). formats: of Pillow;
    FILE_FORMATS also reads TIFF, PPM and GIF. Of several frames or pages the first is read. Raises ValueError naming `where` for
    bytes that are truncated, damaged, of another format, of more than 2**26 pixels, of more than 2**30 pixels over all scans of a
    JPEG, or of pixels that are no 8 or 16 bit numbers.
    """
    if not upright and payload.startswith(SIGNATURES["JPEG"]) and (image_HWC := _plain_jpeg(payload)) is not None:
        return image_HWC
    try:
        with Image.open(io.BytesIO(payload), formats=formats) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels; at most {MAX_PIXELS} in total are allowed")
            if payload.startswith(SIGNATURES["JPEG"]) and scanned(payload, image.size) > MAX_SCANNED_PIXELS:
                raise ValueError(
                    f"{image.width}x{image.height} pixels in {payload.count(SCAN)} scans, which would decode for minutes"
                )
            if unknown_range(image):
                raise ValueError(f"{image.format} with pixels that are no 8 or 16 bit numbers; convert it to 8 bits")
            return np.array(to_rgb(turned_upright(image) if upright else image))
    # Pillow's decoders raise many error types on damaged bytes, without a common base class.
    except Exception as error:
        reason = f"not {', '.join(formats)}{unread_format(payload)}" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{where}: {len(payload)} bytes that are no readable image: {reason}") from error


def unread_format(payload: bytes) -> str:
    """What the bytes of an unread format are, where that is known; phones give such files the names of others."""
    is_heif = payload[4:8] == b"ftyp" and payload[8:12] in HEIF_BRANDS
    return " but HEIC or AVIF; convert it to JPEG first (`heif-convert a.heic a.jpg`, or ImageMagick)" if is_heif else ""


def _plain_jpeg(payload: bytes) -> np.ndarray | None:
    """Decode a valid JPEG of a plain color space; None for any other file, which is left to Pillow."""
    try:
        height, width, color_space, _ = simplejpeg.decode_jpeg_header(payload)
        if (
            color_space not in COLOR_SPACES
            or height * width > MAX_PIXELS
            or scanned(payload, (width, height)) > MAX_SCANNED_PIXELS
        ):
            return None
        return simplejpeg.decode_jpeg(payload)
    except ValueError:
        return None


def unknown_range(image: Image.Image) -> bool:
    """Whether white is no known number: pixels of 32 bits, or of 12 in a TIFF, which Pillow reads as numbers up to 4,095."""
    tiff_bits = getattr(image, "tag_v2", {}).get(TIFF_BITS, (16,))[0] if image.format == "TIFF" else 16
    return image.mode == "F" or (image.format == "TIFF" and image.mode.startswith("I") and tiff_bits != 16)


def scanned(jpeg: bytes, size: tuple[int, int]) -> int:
    """Number of pixels over all scans."""
    return size[0] * size[1] * jpeg.count(SCAN)


def turned_upright(image: Image.Image) -> Image.Image:
    """Undo the EXIF orientation. Pillow's `exif_transpose` also writes the EXIF anew, and fails for a damaged entry."""
    image.load()  # a PNG may have its EXIF behind the pixels
    transpose = TRANSPOSES.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if transpose is None else image.transpose(transpose)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert to RGB; 16-bit grey keeps its high byte, and transparency is dropped."""
    if image.mode.startswith("I"):
        # 16-bit grey: MXNet and cv2 keep the high byte, Pillow's own conversion would clip at 255.
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def encode_jpeg(image_HWC: np.ndarray, quality: int = 95) -> bytes:
    """uint8 (H, W, 3) RGB -> JPEG file, 4:2:0; InsightFace's tools use quality 95."""
    if image_HWC.dtype != np.uint8 or image_HWC.ndim != 3 or image_HWC.shape[2] != 3:
        raise ValueError(f"an image is uint8 (H, W, 3) RGB; got {image_HWC.dtype} {image_HWC.shape}")
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()


def face_file(path: Path, size: int = FACE_SIDE, resize: bool = False, keep: tuple = ("JPEG",)) -> bytes:
    """Return the bytes that store an image file in a data set of `size` px images.

    These are the file's own bytes if it has this size and a format of `keep` (JPEG, PNG); otherwise a new JPEG, resized
    (bicubic) if `resize` is set. Raises ValueError naming the file if it is unreadable, not square, or of another size without
    `resize`.
    """
    payload = Path(path).read_bytes()
    image_HWC = decode(payload, str(path), formats=FILE_FORMATS)
    height, width = image_HWC.shape[:2]
    if height != width or (width != size and not resize):
        remedy = "crop it to an aligned square first" if height != width else "--resize resizes squares"
        raise ValueError(f"{path} has {width}x{height} pixels, expected {size}x{size}; {remedy}")
    if width == size and any(payload.startswith(SIGNATURES[kind]) for kind in keep):
        return payload
    return encode_jpeg(image_HWC if width == size else resized(image_HWC, size))


def record_payload(payload: bytes, where: str) -> bytes:
    """An image file as record files and .bin hold it: unchanged, but TIFF, PPM and GIF, which are read from folders only, as PNG.

    Raises ValueError naming `where` for a damaged one of these.
    """
    if not FURTHER_SIGNATURES.match(payload):
        return payload
    file = io.BytesIO()
    Image.fromarray(decode(payload, where, formats=FILE_FORMATS)).save(file, "PNG")
    return file.getvalue()


def resized(image_HWC: np.ndarray, side: int) -> np.ndarray:
    """Resize a square image by the reference resize (lowres.py)."""
    from aird_plugin.data.lowres import resize_faces  # imports torch, which decoding does not need

    return resize_faces(image_HWC[None], side)[0]
