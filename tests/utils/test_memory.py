import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_peak_memory_is_recorded():
    """In a process of its own: in this one, blocks freed by earlier tests may be reused without new memory."""
    code = """
import time
from aird_plugin.utils.memory import private_bytes, watched
found, before = {}, private_bytes()
with watched(found, "peak"):
    held = b"x" * 2**26
    time.sleep(0.1)
    del held
assert found["peak"] - before > 0.9 * 2**26 and private_bytes() < found["peak"], found
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
