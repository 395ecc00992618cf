import json

import pytest

from tools import bench_degradations


@pytest.mark.slow
def test_rows_of_a_small_run(tmp_path, capsys):
    out = tmp_path / "rows.json"
    words = "--degradation jpeg mixture --network native16_0.05m --batch 8 --turns 1 --json"
    assert bench_degradations.main([*words.split(), str(out)]) == 0
    rows = json.loads(out.read_text())
    assert [row["what"] for row in rows] == [
        "jpeg: speed, batched / one-image",
        "jpeg: share of a step",
        "mixture: speed, batched / one-image",
        "mixture: share of a step",
    ]
    assert all(row["ratio"] > 0 for row in rows) and "native16_0.05m, batch 8, cpu" in rows[1]["detail"]
    assert "| mixture: share of a step | at most 0.15 |" in capsys.readouterr().out


def test_unknown_degradation_is_rejected(capsys):
    with pytest.raises(SystemExit):
        bench_degradations.main(["--degradation", "fog"])
    assert "invalid choice: 'fog'" in capsys.readouterr().err
