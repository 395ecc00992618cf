"""Load files of torch.save safely: no code is run, memory is bounded by the file size, and checksums are verified.

`weights_only=True` prevents a file from running code, but not from allocating memory: an archive may be compressed, its entries
may share their bytes, a piece of the old format may claim any length, and a tensor of one number may have any shape. Nor does
torch.load verify the checksums that torch.save writes: a flipped bit becomes another weight.
"""

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

CHUNK = 1 << 20


def safe_torch_load(path: str | Path, *, mmap: bool = False, checksums: bool = True) -> object:
    """The content of a .pt file, on the CPU. mmap: leave its tensors on disk until they are read. checksums=False: for a
    file that another rank verifies.

    Raises ValueError for a file that claims more than it holds; damaged bytes raise that or whatever torch.load does. The
    format before PyTorch 1.6 has no checksums.
    """
    path = Path(path)
    if zipfile.is_zipfile(path):
        check_archive(path)
        if checksums:
            check_bytes(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    else:
        # The format before PyTorch 1.6. Reading from memory bounds every piece by the file size.
        content = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    for tensor in tensors_in(content):
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(
                f"a tensor of shape {tuple(tensor.shape)} has a storage of {tensor.untyped_storage().nbytes()} bytes"
            )
    return content


def check_archive(path: Path, writer: str = "PyTorch") -> None:
    """ValueError where an archive's entries are compressed, or longer than the file together. Its writer makes neither."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    packed = next((entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise ValueError(f"its entry {packed!r} is compressed, which {writer} never does")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ValueError("its entries are longer than the file: they share their bytes")


def check_bytes(path: Path) -> None:
    """ValueError where an entry's bytes are not those that were written. One without a checksum (an option of torch) passes."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.CRC != 0:
                _read_to_end(archive, entry)


def _read_to_end(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Read an entry, so that zipfile compares its checksum. ValueError where it differs."""
    try:
        with archive.open(entry) as file:
            while file.read(CHUNK):
                pass
    except zipfile.BadZipFile as error:
        raise ValueError(f"its bytes have changed since they were written ({error})") from error


def tensors_in(content: object) -> Iterator[torch.Tensor]:
    """Every tensor in nested dicts, lists and tuples."""
    waiting = [content]
    seen = set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, torch.Tensor):
            yield one
        elif isinstance(one, dict | list | tuple) and id(one) not in seen:
            seen.add(id(one))
            waiting.extend(one.values() if isinstance(one, dict) else one)


def state_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256, in hex, of a state dict's names, types, shapes and values: of the weights themselves, whatever file holds them."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
