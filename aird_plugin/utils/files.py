"""Atomic file writes, and checksums."""

import contextlib
import errno
import hashlib
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20
LONGEST_NAME = 255


def write_atomically(path: Path, content: bytes | Callable[[BinaryIO], None]) -> None:
    """Write `content` (or call it with the open file) beside `path`, sync it to disk, then rename it over `path`.

    A kill leaves the old file. A failed write (full disk) raises an OSError that names the file, and leaves the old file too.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(partial_name(path.name))
    try:
        with naming(path), partial.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill in place of `out`, which is absent or empty: it gets that name once all is written, and goes if not.

    A kill leaves it as `.NAME.part`, which the next call removes. An OSError within, of a full disk for example, names the file
    in `out` that it would have become.
    """
    out = Path(os.path.abspath(out))
    partial = out.with_name(f".{out.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        yield partial
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        if isinstance(error.filename, str) and Path(error.filename).is_relative_to(partial):
            error.filename = str(out / Path(error.filename).relative_to(partial))
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError that names no file, as those of a full disk do, becomes one that names the file that is written."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno or errno.EIO, f"{error.strerror or error}, while writing", str(path)) from error


def partial_name(name: str) -> str:
    """The name of this process's unfinished file. Of a name near the limit of file systems it has the first half."""
    end = f".{os.getpid()}.part"
    if len(os.fsencode(name)) + len(end) + 1 > LONGEST_NAME:
        end = f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{end}"
        name = os.fsencode(name)[: LONGEST_NAME // 2].decode("utf-8", "ignore")
    return f".{name}{end}"


def check_writable(path: Path) -> None:
    """Raise ValueError where `write_atomically` could not write the file; its missing folders would be made."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        # Windows has no statvfs.
        read_only = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
        reason = f" ({os.strerror(errno.EROFS)})" if read_only else ""
        raise ValueError(
            f"{path} cannot be written: {folder} is no folder that can be written to{reason}; name a file in another"
        )


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checksum(path: Path) -> int:
    """CRC-32 of a file: detects accidental damage at memory speed; not forgery."""
    total = 0
    with Path(path).open("rb") as file:
        while chunk := file.read(CHUNK):
            total = zlib.crc32(chunk, total)
    return total


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_same(recorded: str | None, present: str | None) -> bool | None:
    """Whether two hashes are of the same content, each in full or cut to its first digits; None where one is not known.

    Everything that belongs to something records its hash; this is the comparison wherever it is used.
    """
    if not recorded or not present:
        return None
    digits = min(len(recorded), len(present))
    return recorded[:digits] == present[:digits]
