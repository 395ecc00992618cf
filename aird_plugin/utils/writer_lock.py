"""One process at a time writes an output."""

from pathlib import Path

from filelock import FileLock, Timeout


class WriterLock:
    """PATH.lock, held until `release`, which removes it; the system releases the lock of a process that dies.

    Raises ValueError where another process holds it.
    """

    def __init__(self, path: Path):
        self._lock = FileLock(f"{path}.lock", thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ValueError(
                f"another process writes {path} (it holds {path}.lock); wait until it has ended, or name another output"
            ) from error

    def release(self) -> None:
        """Let the next process write. A second call does nothing."""
        if self._lock.is_locked:
            # Before the release: afterwards it may be another process's lock. A removed file is no lock for filelock.
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()
