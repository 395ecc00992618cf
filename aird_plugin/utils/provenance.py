"""Provenance of files and figures: the code that ran, its versions, the machine, the time.

Run folders, checkpoints, rows, reports and exported files carry these facts. They contain no user, host, folder or
repository address, so that a shared model does not reveal its author.
"""

import functools
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

from aird_plugin import __version__
from aird_plugin.utils.files import file_sha256

PACKAGE = Path(__file__).resolve().parent
# Packages that can change a result, recorded where this process has loaded them.
RECORDED = ("torch", "numpy", "PIL", "onnx", "onnxruntime", "insightface", "diffusers")
GIT_TIMEOUT_S = 10
# A partial clone could fetch objects, and hooks and monitors are programs: no network, no programs.
READ_ONLY = ("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-c", "log.showSignature=false")
NO_NETWORK = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}


def provenance(device: str | torch.device = "cpu") -> dict:
    """{"versions", "code", "machine", "time"} of this process, plain values for JSON; `time` is UTC, to the second.

    device: where the networks run. `machine` records what affects the last bits of a float: processor, the kernels that PyTorch
    selects for it, threads, GPU.
    """
    device = torch.device(device)
    loaded = {name: str(sys.modules[name].__version__) for name in RECORDED if name in sys.modules}
    return {
        "versions": {"aird_plugin": __version__, "python": platform.python_version(), **loaded},
        "code": dict(code_state(PACKAGE)),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cpu": cpu_name(),
            "kernels": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "device": device.type if device.type == "cpu" else torch.cuda.get_device_name(device),
        },
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def stamped(
    rows: list[dict], device: str | torch.device, hashes: dict[str, str], inputs: dict[str, dict] | None = None
) -> list[dict]:
    """Result rows, each with `made`: this process's provenance, and by the name of each model the SHA-256 of its weights, and
    how it was fed (`models.teacher_input.described_inputs`)."""
    made = provenance(device) | {"sha256": hashes, "inputs": inputs or {}}
    return [row | {"made": made} for row in rows]


def rows_made_with(rows: list[dict], name: str, file: Path) -> list[dict]:
    """The rows whose `made` does not name another content of this model file than it has now.

    Rows that record none are kept, and all of them where there is no file.
    """
    if not file.is_file():
        return rows
    digest = file_sha256(file)
    return [row for row in rows if recorded_sha256(row, name) in (None, digest)]


def recorded_sha256(row: dict, name: str) -> str | None:
    """The SHA-256 of the model `name` in a stamped row of any origin; None where it records none."""
    made = row.get("made")
    sums = made.get("sha256") if isinstance(made, dict) else None
    return sums.get(name) if isinstance(sums, dict) else None


@functools.cache
def code_state(folder: Path) -> dict:
    """{"tree", "commit", "dirty"} of a folder of code, computed once per process.

    tree: git's hash of the folder on disk, also where there is no git; `git rev-parse COMMIT:aird_plugin` prints a
    commit's. commit: the one that is checked out, dirty: whether the folder differs from it by a byte, a mode or a file; both
    None where git or its repository is missing, or does not track the folder.
    """
    commit, committed = (git(folder, "rev-parse", "HEAD", "HEAD:./") or "None None").split()
    try:
        tree = tree_hash(folder, "sha1" if len(committed) <= 40 else "sha256")
    # Unreadable, or in an archive.
    except OSError:
        tree = None
    known = commit != "None"
    return {"tree": tree, "commit": commit if known else None, "dirty": tree != committed if known else None}


def git(folder: Path, *words: str) -> str | None:
    """The output of a git command; None where it or the repository is missing, or it takes longer than ten seconds.

    The repository may be untrusted, and its configuration may name programs. Use commands that read objects alone
    (rev-parse, log): commands that read the work tree (status, diff) run the repository's filters.
    """
    if not shutil.which("git"):
        return None
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")} | NO_NETWORK
    command = ["git", *READ_ONLY, "-C", str(folder), *words]
    options = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": GIT_TIMEOUT_S}
    try:
        done = subprocess.run(command, env=environment, **options)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def tree_hash(folder: Path, algorithm: str = "sha1") -> str:
    """Git's hash of a folder's files and subfolders as they are, in hex; compiled Python and what is no file are left out."""
    entries = []
    for path in folder.iterdir():
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode) and path.name != "__pycache__" and (inner := tree_hash(path, algorithm)) != tree_of([], algorithm):
            entries.append((f"{path.name}/", "40000", inner))
        elif stat.S_ISLNK(mode):
            entries.append((path.name, "120000", hashed("blob", os.fsencode(os.readlink(path)), algorithm)))
        elif stat.S_ISREG(mode) and path.suffix != ".pyc":
            kind = "100755" if mode & stat.S_IXUSR else "100644"
            entries.append((path.name, kind, hashed("blob", path.read_bytes(), algorithm)))
    return tree_of(entries, algorithm)


def tree_of(entries: list[tuple[str, str, str]], algorithm: str) -> str:
    """The hash of a list of (name, a folder's with a slash; mode; hash)."""
    lines = [(os.fsencode(name), mode.encode(), bytes.fromhex(digest)) for name, mode, digest in entries]
    content = b"".join(mode + b" " + name.rstrip(b"/") + b"\0" + digest for name, mode, digest in sorted(lines))
    return hashed("tree", content, algorithm)


def hashed(kind: str, content: bytes, algorithm: str) -> str:
    """Git's hash of an object."""
    return hashlib.new(algorithm, b"%s %d\0" % (kind.encode(), len(content)) + content, usedforsecurity=False).hexdigest()


def cpu_name() -> str | None:
    """The processor's name, None if the system does not provide it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor()) or None
