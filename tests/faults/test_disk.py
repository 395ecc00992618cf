"""A disk that is full, or that may not be written to: one clear line, what was there stays whole, and the same command goes on.

The disk is a tmpfs in a mount namespace of the test's own, which needs no rights where the system lets users have such.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.processes import ROOT, assert_as_unbroken, recipe_file

AIRD = f"{sys.executable} -m aird_plugin"


def on_disk(script: str, disk: Path, size: str) -> subprocess.CompletedProcess:
    """Run a shell script with a tmpfs of that size at `disk`. Skips where that cannot be had."""
    disk.mkdir(exist_ok=True)
    namespace = ["unshare", "--mount", "--map-root-user"]
    mount = f"mount -t tmpfs -o size={size} none {disk}"
    try:
        subprocess.run([*namespace, "sh", "-c", mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this system gives tests no disk of their own: {error}")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run([*namespace, "sh", "-ec", f"{mount}\n{script}"], capture_output=True, text=True, env=environment)


def assert_one_line(text: str, *words: str) -> None:
    """The last line is the error, and no traceback stands before it."""
    last = text.strip().splitlines()[-1]
    assert last.startswith("error: ") and all(word in last for word in words), text
    assert "Traceback" not in text


def test_a_run_goes_on_when_there_is_room_again(tiny_keys, unbroken, tmp_path):
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    recipe = recipe_file(tmp_path, tiny_keys | {"output": str(disk / "run")})
    done = on_disk(f"""
        {AIRD} train {recipe} 2> {tmp_path}/full && exit 7
        ls {disk}/run/checkpoints > {tmp_path}/checkpoints
        mount -o remount,size=100m {disk}
        {AIRD} train {recipe}
        cp -r {disk}/run {kept}
    """, disk, "1200k")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_one_line((tmp_path / "full").read_text(), "No space left on device")
    # It was in the midst of its work, not at the beginning.
    assert "step_" in (tmp_path / "checkpoints").read_text()
    assert_as_unbroken(kept, unbroken)


def test_a_bank_asks_for_its_room_before_it_begins(tiny_keys, tmp_path):
    disk = tmp_path / "disk"
    recipe = recipe_file(tmp_path, tiny_keys | {"bank": str(disk / "bank"), "output": str(tmp_path / "run")})
    done = on_disk(f"""
        {AIRD} bank {recipe} 2> {tmp_path}/full && exit 7
        find {disk} -name manifest.json > {tmp_path}/manifests
        mount -o remount,size=100m {disk}
        {AIRD} bank {recipe}
    """, disk, "24k")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_one_line((tmp_path / "full").read_text(), "No space left on device", "bytes are needed")
    assert (tmp_path / "manifests").read_text() == ""


@pytest.mark.parametrize("what", ["export", "report", "evaluate"])
def test_what_is_written_at_once_is_there_or_not(unbroken, pairs_file, tmp_path, what):
    disk = tmp_path / "disk"
    words = {
        "export": f"export {unbroken} --count 4 --out {disk}/student",
        "report": f"report {unbroken} --pairs {pairs_file} --out {disk}/report.html",
        "evaluate": f"evaluate {unbroken} --pairs {pairs_file} --px 16 --json {disk}/rows.json",
    }[what]
    done = on_disk(f"""
        head -c 4096 /dev/zero > {disk}/filler
        {AIRD} {words} 2> {tmp_path}/full && exit 7
        ls -A {disk} > {tmp_path}/left
        mount -o remount,size=100m,ro {disk}
        {AIRD} {words} 2> {tmp_path}/readonly && exit 8
        mount -o remount,size=100m,rw {disk}
        {AIRD} {words}
    """, disk, "4k")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_one_line((tmp_path / "full").read_text(), "No space left on device")
    assert (tmp_path / "left").read_text() == "filler\n"
    assert_one_line((tmp_path / "readonly").read_text(), "Read-only file system")


def test_a_run_folder_that_may_not_be_written_to_is_told_before_the_first_step(tiny_keys, tmp_path):
    disk = tmp_path / "disk"
    recipe = recipe_file(tmp_path, tiny_keys | {"output": str(disk / "run")})
    done = on_disk(f"mount -o remount,ro {disk}\n{AIRD} train {recipe}", disk, "10m")
    assert done.returncode == 1
    assert_one_line(done.stderr, "Read-only file system")
    assert "step " not in done.stderr
