import os
import resource

import numpy as np
import pytest

from aird_plugin.data.bank_build import found_or_built
from aird_plugin.data.bank_files import Build, check_sums, new_array
from aird_plugin.files import checksum


def build(folder, rows: int = 4) -> dict:
    making = Build(folder, {"a": 1}, {"x": ((rows, 3), np.float32)})
    for row in range(making.rows_done, rows):
        making.arrays["x"][row] = row
        making.advance(range(row, row + 1))
    making.save("y", np.arange(5))
    return making.finish({"by": "us"})


def test_a_bank_is_opened_when_its_bytes_are_those_it_was_made_of(tmp_path):
    manifest = build(tmp_path / "bank")
    assert manifest["crc32"] == {name: checksum(tmp_path / "bank" / name) for name in ("x.npy", "y.npy")}
    assert found_or_built(tmp_path / "bank", {"a": 1}, lambda: pytest.fail("built again")) == manifest


@pytest.mark.parametrize("place", [0, 70, -1])
def test_a_flipped_bit_is_named(tmp_path, place):
    build(tmp_path / "bank")
    path = tmp_path / "bank" / "y.npy"
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"y.npy is missing or damaged \(its bytes have changed since\); remove"):
        found_or_built(tmp_path / "bank", {"a": 1}, pytest.fail)
    path.unlink()
    with pytest.raises(ValueError, match=r"y.npy is missing or damaged \(.*No such file"):
        found_or_built(tmp_path / "bank", {"a": 1}, pytest.fail)


def test_a_bank_of_before_checksums_opens(tmp_path):
    check_sums(tmp_path, {"inputs": {}, "sha256": {"x.npy": "0"}})


@pytest.mark.parametrize("state", ["", "{", "[]", '{"inputs": {"a": 1}}', '{"inputs": {"a": 2}, "rows_done": 2}'])
def test_a_state_that_says_nothing_of_these_inputs_starts_again(tmp_path, state):
    (tmp_path / "building.json").write_text(state)
    (tmp_path / "x.npy").write_bytes(b"left behind")
    build(tmp_path)
    assert np.load(tmp_path / "x.npy")[:, 0].tolist() == [0, 1, 2, 3]
    assert not (tmp_path / "building.json").exists()


def test_a_build_goes_on_where_it_was(tmp_path):
    making = Build(tmp_path, {"a": 1}, {"x": ((4, 3), np.float32)})
    making.arrays["x"][:2] = 7
    making.advance(range(0, 2))
    build(tmp_path)
    assert np.load(tmp_path / "x.npy")[:, 0].tolist() == [7, 7, 2, 3]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system takes no space ahead")
def test_the_space_of_an_array_is_taken_before_it_is_written_into(tmp_path):
    new_array(tmp_path / "x.npy", (1000, 1000), np.float32)
    assert (tmp_path / "x.npy").stat().st_blocks * 512 >= 4_000_000


def test_a_disk_without_the_space_says_what_is_needed(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"4,000,000 bytes are needed: '.*x.npy'"):
            new_array(tmp_path / "x.npy", (1000, 1000), np.float32)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
