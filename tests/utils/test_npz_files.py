"""Arrays of an .npz are read as written, and what could run code or fill the memory is refused."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from aird_plugin.utils.npz_files import read_npz


def test_arrays_are_read_as_written_and_writable(tmp_path):
    """In either order of elements: NumPy writes a transposed array column by column."""
    rows_23 = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez(tmp_path / "a.npz", rows=rows_23, columns=rows_23.T, empty=np.empty((0, 4)))
    arrays = read_npz(tmp_path / "a.npz", ("rows", "columns", "empty"))
    np.testing.assert_array_equal(arrays["rows"], rows_23)
    np.testing.assert_array_equal(arrays["columns"], rows_23.T)
    assert arrays["empty"].shape == (0, 4)
    arrays["rows"][0, 0] = 7


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "missing.npz", ("a",))
    (tmp_path / "a.npz").write_bytes(b"\x80\x04")
    with pytest.raises(ValueError, match="no .npz archive"):
        read_npz(tmp_path / "a.npz", ("a",))
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="compressed, which numpy.savez never does"):
        read_npz(tmp_path / "a.npz", ("a",))
    np.savez(tmp_path / "a.npz", a=np.array([{}], object))
    with pytest.raises(ValueError, match="its array a holds Python objects"):
        read_npz(tmp_path / "a.npz", ("a",))


@pytest.mark.parametrize("shape", [(1 << 40,), (2,), (4, 0)])
def test_a_header_of_another_length_is_refused_without_allocating_it(tmp_path, shape):
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"shape": shape, "fortran_order": False, "descr": "<f4"})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content.getvalue() + bytes(12))
    tracemalloc.start()
    with pytest.raises(ValueError, match="another length than its header states"):
        read_npz(tmp_path / "a.npz", ("a",))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
