"""What torch.save wrote -> tensors and plain values. Nothing of a file is run, and it gets no more memory than its size explains.

`weights_only=True` keeps a file from running code. It does not keep it from asking for memory: an archive may be compressed, its
entries may share their bytes, a piece of the old format may claim any length, and a tensor of one number may have any shape.
"""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch


def load_tensors(path: str | Path, mmap: bool = False) -> object:
    """The content of a .pt file, on the CPU. mmap: leave its tensors on disk until they are looked at.

    Raises ValueError for a file that asks for more than it holds; damaged bytes raise whatever torch.load does.
    """
    path = Path(path)
    if zipfile.is_zipfile(path):
        check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    else:
        # The format before PyTorch 1.6. Read from memory, no piece can be longer than the file.
        content = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    for tensor in tensors_in(content):
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"a tensor of shape {tuple(tensor.shape)} stands on {tensor.untyped_storage().nbytes()} bytes")
    return content


def check_archive(path: Path) -> None:
    """ValueError where an archive's entries are compressed, or longer than the file together. PyTorch writes neither."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    packed = next((entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise ValueError(f"its entry {packed!r} is compressed, which PyTorch never does")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ValueError("its entries are longer than the file: they share their bytes")


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
