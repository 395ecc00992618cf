import pytest

from aird_plugin.utils.writer_lock import WriterLock


def test_a_lock_is_held_once_and_leaves_no_file(tmp_path):
    lock = WriterLock(tmp_path / "a")
    with pytest.raises(ValueError, match=r"another process writes .*/a \(it holds .*/a.lock\)"):
        WriterLock(tmp_path / "a")
    other = WriterLock(tmp_path / "b")
    lock.release()
    later = WriterLock(tmp_path / "a")
    lock.release()
    with pytest.raises(ValueError, match="another process writes"):
        WriterLock(tmp_path / "a")
    later.release()
    other.release()
    assert not list(tmp_path.iterdir())
