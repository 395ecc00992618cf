import json
import sys

import pytest

from aird_plugin.models import build
from tools import bench_scale
from tools.lib.traffic import weight_bytes

pytestmark = pytest.mark.slow

CLASSES, WIDTH, BATCH, RANKS = 400, 8, 2, 2


@pytest.fixture(scope="module")
def figures(tmp_path_factory, request):
    """The figures of two ranks of a small run, and the rows made of them."""
    folder, patch = tmp_path_factory.mktemp("scale"), pytest.MonkeyPatch()
    request.addfinalizer(patch.undo)
    kept, run_ranks = {}, bench_scale.run_ranks
    patch.setattr(bench_scale, "run_ranks", lambda *args: kept.setdefault("ranks", run_ranks(*args)))
    flags = f"--classes {CLASSES} --width {WIDTH} --batch {BATCH} --sample-rate 0.25 --turns 1 --scratch {folder}"
    patch.setattr(sys, "argv", ["bench_scale.py", *flags.split(), "--json", str(folder / "rows.json")])
    assert bench_scale.main() == 0
    assert [path.name for path in folder.iterdir()] == ["rows.json"], "the scratch folder is removed"
    return kept["ranks"], json.loads((folder / "rows.json").read_text())


def test_memory_and_bytes_of_each_rank(figures):
    ranks, _ = figures
    assert len(ranks) == RANKS
    images = RANKS * BATCH
    gathered = BATCH * WIDTH * 4 + images * WIDTH * 4 + BATCH * WIDTH * 4 + BATCH * 8
    scalars = 10 * images * 4
    for rank in ranks:
        assert rank["weights"] == CLASSES // RANKS * WIDTH * 4 and rank["state"] == 2 * rank["weights"]
        assert rank["bytes_sent"] == gathered + scalars + weight_bytes(build("native16_0.05m", WIDTH))
        assert rank["checkpoint"] > RANKS * rank["state"] and len(rank["step_s"]) == 1


def test_one_row_for_each_phase(figures):
    ranks, rows = figures
    assert [row["what"].split(", ")[1].split(" /")[0] for row in rows] == ["start", "steps", "saving", "resuming"]
    for row, phase in zip(rows, ("start", "steps", "saving", "resuming"), strict=True):
        assert row["ratio"] == max(rank[phase] for rank in ranks) / ranks[0]["state"] > 0
