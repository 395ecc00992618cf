import time

from aird_plugin.memory import private_bytes, watched


def test_memory_is_watched_to_its_peak():
    found = {}
    before = private_bytes()
    with watched(found, "peak"):
        held = b"x" * 2**26
        time.sleep(0.1)
        del held
    assert found["peak"] - before > 0.9 * 2**26 and private_bytes() < found["peak"]
