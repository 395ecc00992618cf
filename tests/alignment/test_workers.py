"""Photos cropped by several processes: the same files and table as by one, also after a kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aird_plugin.alignment import workers
from aird_plugin.alignment.crop import template
from aird_plugin.alignment.log import AlignmentLog
from aird_plugin.alignment.photos import CropSettings, photos_in
from aird_plugin.alignment.workers import PHOTOS_EACH, Job, crop_all, processes_for
from tests.skips import needs

needs("skimage")
ROOT = Path(__file__).parents[2]
COUNT = 60


@pytest.fixture
def album(noise_faces, tmp_path) -> Path:
    """Sixty small photos, one of which is damaged, and their landmarks beside them in points.csv."""
    folder = tmp_path / "album"
    for number, photo_HWC in enumerate(noise_faces(COUNT)):
        (folder / f"{number // 10}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo_HWC).save(folder / f"{number // 10}" / f"{number:02d}.png")
    (folder / "2" / "25.png").write_bytes(b"torn")
    points = ",".join(map(str, template().ravel()))
    lines = [f"{number // 10}/{number:02d}.png,{points}" for number in range(COUNT)]
    (tmp_path / "points.csv").write_text("\n".join(lines))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_number_of_processes(monkeypatch):
    monkeypatch.setattr(workers, "usable_cores", lambda: 8)
    assert [processes_for(n, None) for n in (0, 1, PHOTOS_EACH, PHOTOS_EACH + 1, 10**6)] == [1, 1, 1, 2, 8]
    assert processes_for(1, 3) == 3 and processes_for(10**6, 1) == 1


@pytest.mark.slow
def test_two_processes_write_what_one_writes(album, tmp_path):
    names, _ = photos_in(album)
    for count in (1, 2):
        job = Job(album, tmp_path / str(count), CropSettings(), points=str(tmp_path / "points.csv"))
        with AlignmentLog(job.out, {}) as log:
            for rows in crop_all(names, job, job.open_source(), count):
                log.write(rows)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert len(contents(tmp_path / "2")) == COUNT + 1 and log.counts == {"cropped": COUNT - 1, "unreadable": 1}


@pytest.mark.slow
def test_death_of_a_process_is_an_error_and_the_rest_is_kept(album, tmp_path):
    job = Job(album, tmp_path / "out", CropSettings(encode=die_at_a_dark_photo), points=str(tmp_path / "points.csv"))
    Image.fromarray(np.zeros((112, 112, 3), np.uint8)).save(album / "5" / "55.png")
    with pytest.raises(RuntimeError, match="a process of `aird align` died"), AlignmentLog(job.out, {}) as log:
        for rows in crop_all(photos_in(album)[0], job, job.open_source(), 2):
            log.write(rows)
    assert 0 < len(AlignmentLog(job.out, {}).done) < COUNT


def die_at_a_dark_photo(crop_HWC: np.ndarray) -> bytes:
    if crop_HWC.max() < 10:
        os.kill(os.getpid(), signal.SIGKILL)
    return bytes(crop_HWC.ravel()[:10])


@pytest.mark.slow
def test_killed_command_leaves_no_process_and_resumes(album, tmp_path):
    words = ["align", str(album), "--out", str(tmp_path / "out"), "--points", str(tmp_path / "points.csv"), "--workers", "2"]
    command = [sys.executable, "-m", "aird_plugin", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 600
    while not list((tmp_path / "out").rglob("*.jpg")) and first.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    children = children_of(first.pid)
    first.kill()
    first.wait()
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0 and f"{COUNT} photos: {COUNT - 1} faces cropped" in done.stdout, done.stderr
    rows = (tmp_path / "out" / "align.csv").read_text().splitlines()
    assert len(rows) == COUNT + 1 and len(list((tmp_path / "out").rglob("*.jpg"))) == COUNT - 1
    assert not list((tmp_path / "out").rglob("*.part"))


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
