"""Image files <-> faces. What face data sets hold is decoded as MXNet does, bit for bit."""

import io
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
SIGNATURES = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n"}
MAX_PIXELS = 1 << 26
# A progressive JPEG goes over all of its pixels again in each scan, and a scan may be a hundred bytes. A sound one has about ten.
SCAN, MAX_SCANNED_PIXELS = b"\xff\xda", 1 << 30
# Of these simplejpeg gives Pillow's pixels, in half the time; CMYK it rounds otherwise.
PLAIN_COLOURS = ("YCbCr", "Gray", "RGB")


def decode(payload: bytes, where: str, upright: bool = False) -> np.ndarray:
    """JPEG, PNG, BMP or WebP bytes -> uint8 (H, W, 3), RGB. Grey and palettes become RGB, alpha is dropped.

    upright: turn the picture as its EXIF orientation says, as photos want. Aligned faces do not: MXNet does
    not apply it either (cv2 does). Raises ValueError naming `where` for bytes that are cut short, damaged, of
    another format, of more than 2**26 pixels, or of more than 2**30 over all scans of a JPEG.
    """
    if not upright and payload.startswith(SIGNATURES["JPEG"]) and (face_HWC := _plain_jpeg(payload)) is not None:
        return face_HWC
    try:
        with Image.open(io.BytesIO(payload), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels, allowed are {MAX_PIXELS} in all")
            if payload.startswith(SIGNATURES["JPEG"]) and scanned(payload, image.size) > MAX_SCANNED_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels in {payload.count(SCAN)} scans, which would take minutes")
            return np.array(_rgb(ImageOps.exif_transpose(image) if upright else image))
    # Pillow's decoders raise a dozen kinds of error on damaged bytes, with no base class in common.
    except Exception as error:
        why = f"not {', '.join(FORMATS)}" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{where}: {len(payload)} bytes that are no readable image: {why}") from error


def _plain_jpeg(payload: bytes) -> np.ndarray | None:
    """A sound JPEG of plain colours; None for any other, which Pillow then reads or refuses."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(payload)
        if colours not in PLAIN_COLOURS or height * width > MAX_PIXELS or scanned(payload, (width, height)) > MAX_SCANNED_PIXELS:
            return None
        return simplejpeg.decode_jpeg(payload)
    except ValueError:
        return None


def scanned(jpeg: bytes, size: tuple[int, int]) -> int:
    """How many pixels its scans go over, together."""
    return size[0] * size[1] * jpeg.count(SCAN)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit grey: MXNet and cv2 keep the high byte, Pillow's own conversion would clip at 255.
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def encode_jpeg(face_HWC: np.ndarray, quality: int = 95) -> bytes:
    """uint8 (H, W, 3) RGB -> JPEG file, 4:2:0; quality 95 is what InsightFace's tools use."""
    if face_HWC.dtype != np.uint8 or face_HWC.ndim != 3 or face_HWC.shape[2] != 3:
        raise ValueError(f"a face is uint8 (H, W, 3) RGB; got {face_HWC.dtype} {face_HWC.shape}")
    file = io.BytesIO()
    Image.fromarray(face_HWC).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()


def face_file(path: Path, size: int = 112, resize: bool = False, keep: tuple = ("JPEG",)) -> bytes:
    """The bytes under which a picture file goes into a data set of `size` px faces.

    The file's own, untouched, where it has that size and a format of `keep` (JPEG, PNG); else a JPEG of it,
    resized (bicubic) where `resize` allows it. Raises ValueError naming the file where it cannot be read, is
    not square, or has another size without `resize`.
    """
    payload = Path(path).read_bytes()
    face_HWC = decode(payload, str(path))
    height, width = face_HWC.shape[:2]
    if height != width or (width != size and not resize):
        remedy = "crop it to an aligned square first" if height != width else "--resize resizes squares"
        raise ValueError(f"{path} has {width}x{height} pixels, expected {size}x{size}; {remedy}")
    if width == size and any(payload.startswith(SIGNATURES[kind]) for kind in keep):
        return payload
    return encode_jpeg(face_HWC if width == size else resized(face_HWC, size))


def resized(face_HWC: np.ndarray, side: int) -> np.ndarray:
    """A square face at another size, by the one resize there is (lowres.py)."""
    from aird_plugin.data.lowres import resize_faces  # brings torch, which reading files does not need

    return resize_faces(face_HWC[None], side)[0]
