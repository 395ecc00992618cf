"""The command of several ranks, and that it starts them with the script's own arguments."""

import subprocess

from tools.lib.torchrun import torchrun_command


def test_every_rank_runs_the_script_with_its_arguments(tmp_path):
    script = tmp_path / "rank.py"
    script.write_text(
        "import os, sys, pathlib\n"
        "pathlib.Path(sys.argv[1], os.environ['RANK']).write_text(f\"{os.environ['WORLD_SIZE']} {sys.argv[2]}\")\n"
    )
    subprocess.run([*torchrun_command(str(script), 2), str(tmp_path), "--own"], check=True, capture_output=True)
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["2 --own"] * 2
