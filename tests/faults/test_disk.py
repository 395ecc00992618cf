"""A full or read-only disk: a one-line error, existing files stay intact, and the same command resumes.

The disk is a tmpfs in a mount namespace of the test, which needs no privileges where user namespaces are allowed.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.processes import ROOT, assert_equals_uninterrupted
from tests.runs import write_recipe

pytestmark = pytest.mark.slow

AIRD = f"{sys.executable} -m aird_plugin"


def on_disk(script: str, disk: Path, size: str) -> subprocess.CompletedProcess:
    """Run a shell script with a tmpfs of that size at `disk`. Skips where namespaces are not allowed."""
    disk.mkdir(exist_ok=True)
    namespace = ["unshare", "--mount", "--map-root-user"]
    mount = f"mount -t tmpfs -o size={size} none {disk}"
    try:
        subprocess.run([*namespace, "sh", "-c", mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no mount namespace for a tmpfs: {error}")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run([*namespace, "sh", "-ec", f"{mount}\n{script}"], capture_output=True, text=True, env=environment)


def assert_one_line(text: str, *words: str) -> None:
    """The last line is the error, without a traceback before it."""
    last = text.strip().splitlines()[-1]
    assert last.startswith("error: ") and all(word in last for word in words), text
    assert "Traceback" not in text


def test_run_resumes_after_a_full_disk(tiny_keys, uninterrupted, tmp_path):
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    recipe = write_recipe(tmp_path / "recipe.py", tiny_keys | {"output": str(disk / "run")})
    done = on_disk(
        f"""
        {AIRD} train {recipe} 2> {tmp_path}/full && exit 7
        ls {disk}/run/checkpoints > {tmp_path}/checkpoints
        mount -o remount,size=100m {disk}
        {AIRD} train {recipe}
        cp -r {disk}/run {kept}
    """,
        disk,
        "1200k",
    )
    assert done.returncode == 0, done.stderr
    assert_one_line((tmp_path / "full").read_text(), "No space left on device")
    # The disk filled up in the middle of the run, not at its start.
    assert "step_" in (tmp_path / "checkpoints").read_text()
    assert_equals_uninterrupted(kept, uninterrupted)


def test_bank_checks_free_space_before_building(tiny_keys, tmp_path):
    disk = tmp_path / "disk"
    recipe = write_recipe(tmp_path / "recipe.py", tiny_keys | {"bank": str(disk / "bank"), "output": str(tmp_path / "run")})
    done = on_disk(
        f"""
        {AIRD} bank {recipe} 2> {tmp_path}/full && exit 7
        find {disk} -name manifest.json > {tmp_path}/manifests
        mount -o remount,size=100m {disk}
        {AIRD} bank {recipe}
    """,
        disk,
        "24k",
    )
    assert done.returncode == 0, done.stderr
    assert_one_line((tmp_path / "full").read_text(), "No space left on device", "bytes are needed")
    assert (tmp_path / "manifests").read_text() == ""


@pytest.mark.parametrize("what", ["export", "report", "evaluate"])
def test_outputs_are_written_completely_or_not_at_all(uninterrupted, pairs_file, tmp_path, what):
    disk = tmp_path / "disk"
    words = {
        "export": f"export {uninterrupted} --count 4 --out {disk}/student",
        "report": f"report {uninterrupted} --pairs {pairs_file} --out {disk}/report.html",
        "evaluate": f"evaluate {uninterrupted} --pairs {pairs_file} --px 16 --json {disk}/rows.json",
    }[what]
    done = on_disk(
        f"""
        head -c 4096 /dev/zero > {disk}/filler
        {AIRD} {words} 2> {tmp_path}/full && exit 7
        ls -A {disk} > {tmp_path}/left
        mount -o remount,size=100m,ro {disk}
        {AIRD} {words} 2> {tmp_path}/readonly && exit 8
        mount -o remount,size=100m,rw {disk}
        {AIRD} {words}
    """,
        disk,
        "4k",
    )
    assert done.returncode == 0, done.stderr
    assert_one_line((tmp_path / "full").read_text(), "No space left on device")
    assert (tmp_path / "left").read_text() == "filler\n"
    assert_one_line((tmp_path / "readonly").read_text(), "Read-only file system")


def test_read_only_run_folder_is_reported_before_the_first_step(tiny_keys, tmp_path):
    disk = tmp_path / "disk"
    recipe = write_recipe(tmp_path / "recipe.py", tiny_keys | {"output": str(disk / "run")})
    done = on_disk(f"mount -o remount,ro {disk}\n{AIRD} train {recipe}", disk, "10m")
    assert done.returncode == 1
    assert_one_line(done.stderr, "Read-only file system")
    assert "step " not in done.stderr
