"""Verification pairs as face.evoLVe, InsightFace_Pytorch and AdaFace keep them: a bcolz folder and NAME_list.npy beside it.

NAME/meta/sizes and NAME/meta/storage (JSON) give shape and type, (2N, 3, 112, 112) float32 of (value / 255 - 0.5) / 0.5;
NAME/data/__0.blp, __1.blp ... hold `chunklen` images each: a header of 16 bytes, then a chunk of Blosc 1 (bcolz's
DISK_FORMAT_v1). Decompression needs one of the packages blosc2, numcodecs, blosc; a chunk that was stored uncompressed, none.
"""

import importlib
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.utils.json_files import read_object
from aird_plugin.utils.progress import progress

MAGIC, HEADER = b"blpk", 16
STORED = 0x2
DECOMPRESSORS = ("blosc2", "numcodecs.blosc", "blosc")
# bcolz makes chunks of a few MB; a forged size could fill the memory.
LARGEST_CHUNK = 1 << 31


class Layout(NamedTuple):
    """shape: (2N, 3, 112, 112); chunklen: images per chunk."""

    shape: tuple[int, ...]
    dtype: np.dtype
    chunklen: int


def is_bcolz(folder: Path) -> bool:
    """Whether the folder is a bcolz array."""
    return (folder / "meta" / "storage").is_file()


def bcolz_images(folder: Path, rgb: bool) -> tuple[list[bytes], list[bool]]:
    """2N PNG files, without loss, and N genuine flags. The arrays hold BGR as the makers' scripts write them; rgb: RGB.

    Raises ValueError for another layout, and ImportError that names a conversion where no package decompresses Blosc.
    """
    layout = read_layout(folder)
    same = read_flags(folder, layout.shape[0])
    values = progress(arrays(folder, layout), layout.shape[0], "packing", "images")
    return [png_of(value_CHW, rgb) for value_CHW in values], same


def read_layout(folder: Path) -> Layout:
    """Shape, type and chunk length. ValueError unless it is an array of 112 px images in float32."""
    sizes, storage = (read_object(folder / "meta" / name) for name in ("sizes", "storage"))
    shape, dtype, chunklen = sizes.get("shape"), storage.get("dtype"), storage.get("chunklen")
    fits = isinstance(shape, list) and len(shape) == 4 and shape[1:] == [3, FACE_SIDE, FACE_SIDE] and dtype == "float32"
    if not fits or type(shape[0]) is not int or type(chunklen) is not int or chunklen < 1:
        found = f"shape {shape}, dtype {dtype!r}, chunklen {chunklen!r}"
        raise ValueError(f"{folder} holds {found}; expected [2N, 3, 112, 112] float32, as face.evoLVe's scripts write it")
    return Layout(tuple(shape), np.dtype("<f4"), chunklen)


def read_flags(folder: Path, images: int) -> list[bool]:
    """The genuine flags of NAME_list.npy beside the folder. Pickled objects are refused."""
    file = folder.with_name(f"{folder.name}_list.npy")
    if not file.is_file():
        raise ValueError(f"no {file}; the flags of {folder} are kept beside it under this name")
    flags = np.load(file, allow_pickle=False)
    if flags.ndim != 1 or 2 * len(flags) != images or not np.isin(flags, (0, 1)).all():
        raise ValueError(f"{file} holds {flags.dtype} {flags.shape}; expected {images // 2} flags for {images} images")
    return flags.astype(bool).tolist()


def arrays(folder: Path, layout: Layout) -> Iterator[np.ndarray]:
    """Each image, float32 (3, 112, 112). ValueError names a chunk that is missing, damaged or of another size."""
    total, *of_one = layout.shape
    for number, start in enumerate(range(0, total, layout.chunklen)):
        file = folder / "data" / f"__{number}.blp"
        content = file.read_bytes()
        if content[:4] != MAGIC or len(content) < 2 * HEADER:
            raise ValueError(f"{file} is no chunk of bcolz: it begins with {content[:4]!r}")
        values = np.frombuffer(chunk(content[HEADER:], file), layout.dtype)
        # bcolz fills up the last chunk.
        count = min(layout.chunklen, total - start)
        if values.size < count * int(np.prod(of_one)):
            raise ValueError(f"{file} holds {values.size} values; expected {count} images of {of_one}")
        yield from values[: count * int(np.prod(of_one))].reshape(count, *of_one)


def chunk(blosc: bytes, file: Path) -> bytes:
    """Decompress a chunk of Blosc 1: version, codec version, flags, type size; bytes, block size, compressed bytes (uint32)."""
    flags, plain, packed = blosc[2], *struct.unpack_from("<I4xI", blosc, 4)
    if packed != len(blosc) or plain > LARGEST_CHUNK:
        raise ValueError(f"{file} is damaged: it has {len(blosc)} bytes and states {packed} (uncompressed {plain})")
    if flags & STORED:
        return blosc[HEADER:]
    for name in DECOMPRESSORS:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        try:
            return bytes(module.decompress(blosc))
        except RuntimeError as error:
            raise ValueError(f"{file} cannot be decompressed: {error}") from error
    raise ImportError(f"{file.parents[1]} is compressed with Blosc: pip install blosc2 (or numcodecs), or {conversion(file)}")


def conversion(file: Path) -> str:
    """A command that stores the folder uncompressed, where bcolz is installed."""
    name = str(file.parents[1])
    code = f"import bcolz; bcolz.carray(rootdir={name!r}).copy(rootdir={name + '_plain'!r}, cparams=bcolz.cparams(clevel=0))"
    return f'where bcolz is installed run: python -c "{code}", copy {name}_list.npy to {name}_plain_list.npy, give {name}_plain'


def png_of(value_CHW: np.ndarray, rgb: bool) -> bytes:
    """A PNG of a normalised image, float32 (3, 112, 112) from -1 to 1. ValueError where values are beyond 8 bits."""
    level_CHW = value_CHW * 127.5 + 127.5
    rounded_CHW = np.rint(level_CHW)
    # 8-bit values that float32 arithmetic normalised return to within 1e-4.
    if not np.abs(level_CHW - rounded_CHW).max() < 1e-2 or rounded_CHW.min() < 0 or rounded_CHW.max() > 255:
        raise ValueError("an image is not (value / 255 - 0.5) / 0.5 of 8-bit values; make the .bin from the images themselves")
    image_HWC = rounded_CHW.astype(np.uint8).transpose(1, 2, 0)
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image_HWC if rgb else image_HWC[:, :, ::-1])).save(content, "PNG")
    return content.getvalue()
