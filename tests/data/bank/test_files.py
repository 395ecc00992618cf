import os
import resource

import numpy as np
import pytest

from aird_plugin.data.bank import files
from aird_plugin.data.bank.files import Build, check_sums, new_array, saved
from aird_plugin.data.bank.open_or_build import open_or_build
from aird_plugin.utils.files import checksum


def build(folder, rows: int = 4) -> dict:
    builder = Build(folder, {"a": 1}, {"x": ((rows, 3), np.float32)})
    for row in range(builder.rows_done, rows):
        builder.arrays["x"][row] = row
        builder.advance(range(row, row + 1))
    builder.save("y", np.arange(5))
    return builder.finish({"by": "us"})


def test_an_unchanged_bank_opens(tmp_path):
    manifest = build(tmp_path / "bank")
    assert manifest["crc32"] == {name: checksum(tmp_path / "bank" / name) for name in ("x.npy", "y.npy")}
    assert open_or_build(tmp_path / "bank", {"a": 1}, lambda: pytest.fail("built again")) == manifest


@pytest.mark.parametrize("position", [0, 70, -1])
def test_a_flipped_bit_is_reported(tmp_path, position):
    build(tmp_path / "bank")
    path = tmp_path / "bank" / "y.npy"
    data = bytearray(path.read_bytes())
    data[position] ^= 4
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"y.npy is missing or damaged \(its bytes have changed since\); remove"):
        open_or_build(tmp_path / "bank", {"a": 1}, pytest.fail)
    path.unlink()
    with pytest.raises(ValueError, match=r"y.npy is missing or damaged \(.*No such file"):
        open_or_build(tmp_path / "bank", {"a": 1}, pytest.fail)


def test_a_bank_without_checksums_opens(tmp_path):
    check_sums(tmp_path, {"inputs": {}, "sha256": {"x.npy": "0"}})


@pytest.mark.parametrize("state", ["", "{", "[]", '{"inputs": {"a": 1}}', '{"inputs": {"a": 2}, "rows_done": 2}'])
def test_an_unusable_state_restarts_the_build(tmp_path, state):
    (tmp_path / "building.json").write_text(state)
    (tmp_path / "x.npy").write_bytes(b"left behind")
    build(tmp_path)
    assert np.load(tmp_path / "x.npy")[:, 0].tolist() == [0, 1, 2, 3]
    assert not (tmp_path / "building.json").exists()


def test_a_build_resumes(tmp_path):
    builder = Build(tmp_path, {"a": 1}, {"x": ((4, 3), np.float32)})
    builder.arrays["x"][:2] = 7
    builder.advance(range(0, 2))
    build(tmp_path)
    assert np.load(tmp_path / "x.npy")[:, 0].tolist() == [7, 7, 2, 3]


def sums_of_rows(row: int) -> int:
    return row + 1


def grown(folder, rows: int) -> Build:
    """A build for `rows` records, of which those of an earlier build are the first."""
    return Build(folder, {"records": rows, "num_faces": rows}, {"x": ((rows, 3), np.float32)}, sums_of_rows)


@pytest.mark.parametrize("written", range(7))
def test_a_kill_while_a_grown_array_is_copied_loses_no_row(tmp_path, monkeypatch, written):
    """Five finished rows in blocks of two: three writes of the array, then three of the images' sums."""
    builder = grown(tmp_path, 5)
    builder.arrays["x"][:] = np.arange(1, 6)[:, None]
    builder.advance(range(5))
    left = iter(range(written))

    class Killed(np.memmap):
        def __setitem__(self, rows, values):
            if next(left, None) is None:
                raise KeyboardInterrupt
            super().__setitem__(rows, values)

    with monkeypatch.context() as patched:
        patched.setattr(files, "COPIED_ROWS", 2)
        patched.setattr(files, "new_array", lambda *args: new_array(*args).view(Killed))
        if written < 6:
            with pytest.raises(KeyboardInterrupt):
                grown(tmp_path, 8)
        else:
            grown(tmp_path, 8)
    for rows in (8, 9, 7):
        again = grown(tmp_path, rows)
        assert again.rows_done == 5 and again.arrays["x"][:, 0].tolist() == [1, 2, 3, 4, 5] + [0] * (rows - 5)
        assert again.sums_N.tolist() == [1, 2, 3, 4, 5] + [0] * (rows - 5)
    assert {path.name for path in tmp_path.iterdir()} == {"x.npy", "images.npy", "building.json"}


def test_a_build_of_fewer_records_that_stops_at_once_can_grow_again(tmp_path):
    builder = grown(tmp_path, 5)
    builder.arrays["x"][:] = 7
    builder.advance(range(5))
    assert grown(tmp_path, 3).rows_done == 3
    again = grown(tmp_path, 6)
    assert again.rows_done == 3 and again.arrays["x"][:, 0].tolist() == [7, 7, 7, 0, 0, 0]


def test_a_state_without_its_array_restarts_the_build(tmp_path):
    builder = grown(tmp_path, 5)
    builder.advance(range(5))
    (tmp_path / "x.npy").unlink()
    assert grown(tmp_path, 5).rows_done == 0


def test_a_start_verifies_random_files_of_a_large_cache(tmp_path, monkeypatch):
    """Of twenty files of a kilobyte each rank of two reads three; a missing one is always found, and all are read on demand."""
    builder = Build(tmp_path, {"a": 1}, {})
    for number in range(20):
        builder.save(f"f{number}", np.full(1000 - 128, number, np.uint8))
    manifest = builder.finish({})
    monkeypatch.setattr(files, "VERIFIED_AT_START", 19_000), monkeypatch.setattr(files, "SAMPLED_AT_START", 4500)
    monkeypatch.setenv("WORLD_SIZE", "2")
    read = []
    monkeypatch.setattr(files, "checksum", lambda path: read.append(path.name) or checksum(path))
    for _ in range(60):
        check_sums(tmp_path, manifest, at_start=True)
    assert len(read) == 3 * 60 and len(set(read)) > 15
    check_sums(tmp_path, manifest)
    assert len(read) == 3 * 60 + 20
    monkeypatch.setattr(files, "VERIFIED_AT_START", 20_000)
    check_sums(tmp_path, manifest, at_start=True)
    assert len(read) == 3 * 60 + 40
    (tmp_path / "f3.npy").unlink()
    monkeypatch.setattr(files, "VERIFIED_AT_START", 0)
    with pytest.raises(ValueError, match="f3.npy is missing"):
        check_sums(tmp_path, manifest, at_start=True)


def test_a_file_that_another_process_has_mapped_keeps_its_content(tmp_path):
    first = saved(tmp_path, {"x": np.zeros(1000)})
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    second = saved(tmp_path, {"x": np.ones(1000)})
    assert not mapped.any() and np.load(tmp_path / "x.npy").all()
    assert first["x.npy"] != second["x.npy"] == checksum(tmp_path / "x.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system has no posix_fallocate")
def test_an_array_is_allocated_before_writing(tmp_path):
    new_array(tmp_path / "x.npy", (1000, 1000), np.float32)
    assert (tmp_path / "x.npy").stat().st_blocks * 512 >= 4_000_000


def test_a_full_disk_reports_the_bytes_needed(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"4,000,000 bytes are needed: '.*x.npy'"):
            new_array(tmp_path / "x.npy", (1000, 1000), np.float32)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
