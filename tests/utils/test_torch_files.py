import io
import tracemalloc
import zipfile

import pytest
import torch

from aird_plugin.utils.torch_files import safe_torch_load, tensors_in


def saved(path, content, **how):
    torch.save(content, path, **how)
    return path


@pytest.mark.parametrize("mmap", [False, True])
def test_valid_files_load(tmp_path, mmap):
    content = {"a": torch.arange(6.0).reshape(2, 3), "nested": [{"b": torch.ones(2).half()}], "step": 3}
    again = safe_torch_load(saved(tmp_path / "a.pt", content), mmap=mmap)
    assert torch.equal(again["a"], content["a"]) and again["step"] == 3
    assert torch.equal(again["nested"][0]["b"], content["nested"][0]["b"])


def test_legacy_format_loads(tmp_path):
    again = safe_torch_load(saved(tmp_path / "a.pt", {"a": torch.ones(3)}, _use_new_zipfile_serialization=False))
    assert torch.equal(again["a"], torch.ones(3))


def test_tensors_sharing_a_storage_load(tmp_path):
    whole = torch.arange(12.0)
    again = safe_torch_load(saved(tmp_path / "a.pt", {"whole": whole, "part": whole[3:6], "turned": whole.reshape(3, 4).T}))
    assert torch.equal(again["part"], whole[3:6])


def test_compressed_archive_is_rejected(tmp_path):
    """It would unpack to a thousand times its size."""
    sound = saved(tmp_path / "a.pt", {"a": torch.zeros(10_000_000)})
    with zipfile.ZipFile(sound) as before, zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as after:
        for entry in before.infolist():
            after.writestr(entry.filename, before.read(entry))
    assert (tmp_path / "bomb.pt").stat().st_size < 100_000
    with pytest.raises(ValueError, match="is compressed, which PyTorch never does"):
        safe_torch_load(tmp_path / "bomb.pt")


def test_overlapping_entries_are_rejected(tmp_path):
    """Several directory entries at the same offset of the file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data/0", bytes(1000))
        for number in range(1, 20):
            twin = zipfile.ZipInfo(f"a/data/{number}")
            twin.file_size = twin.compress_size = 1000
            twin.header_offset, twin.CRC = 0, archive.infolist()[0].CRC
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
        archive._didModify = True
    (tmp_path / "a.pt").write_bytes(file.getvalue())
    with pytest.raises(ValueError, match="they share their bytes"):
        safe_torch_load(tmp_path / "a.pt")


def test_expanded_tensor_is_rejected(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(100000, 100000\) has a storage of 4 bytes"):
        safe_torch_load(saved(tmp_path / "a.pt", {"a": torch.ones(1).expand(100_000, 100_000)}))


def test_oversized_length_in_a_legacy_file_allocates_no_memory(tmp_path):
    """BINUNICODE of 1.4 GB, in a file of a few bytes."""
    (tmp_path / "a.pt").write_bytes(b"\x80\x02\x58\xff\xff\xff\x57abc")
    tracemalloc.start()
    with pytest.raises(Exception):  # noqa: B017 - torch documents no type
        safe_torch_load(tmp_path / "a.pt")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_self_referencing_content_terminates(tmp_path):
    loop = [torch.ones(1)]
    loop.append(loop)
    assert len(list(tensors_in(loop))) == 1
