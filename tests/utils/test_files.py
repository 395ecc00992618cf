import errno

import pytest

from aird_plugin.utils.files import new_folder, write_atomically


def test_write_atomically_accepts_bytes_and_writers(tmp_path):
    path = tmp_path / "new" / "file"
    write_atomically(path, b"one")
    assert path.read_bytes() == b"one"
    write_atomically(path, lambda file: file.write(b"two"))
    assert path.read_bytes() == b"two" and list(path.parent.iterdir()) == [path]


def test_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, full)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError("9 requested and 0 written")])
def test_a_failed_write_names_the_file(error, tmp_path):
    def full(file):
        raise error

    with pytest.raises(OSError, match=rf"{error.strerror or error}, while writing: '{tmp_path}/file'"):
        write_atomically(tmp_path / "file", full)


def test_a_failed_write_in_a_new_folder_names_the_file_in_that_folder(tmp_path):
    """The error named the hidden folder in which the files are written first."""

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=rf"No space left on device, while writing: '{tmp_path}/out/native/m.onnx'"):
        with new_folder(tmp_path / "out") as partial:
            write_atomically(partial / "native" / "m.onnx", full)
    with pytest.raises(FileNotFoundError, match=f"'{tmp_path}/other'"), new_folder(tmp_path / "out"):
        open(tmp_path / "other")
    assert not list(tmp_path.iterdir())


def test_longest_names_of_a_file_system_are_written(tmp_path):
    """Photos have names of up to 255 bytes; that of the unfinished file was longer."""
    paths = [tmp_path / f"{letter * 125}.jpg" for letter in "жд"]
    for path in paths:
        write_atomically(path, path.name.encode())
    assert sorted(tmp_path.iterdir()) == sorted(paths) and all(path.read_text() == path.name for path in paths)


def test_full_device_raises():
    with pytest.raises(OSError):
        with open("/dev/full", "wb") as full:
            full.write(b"x" * 100_000)
