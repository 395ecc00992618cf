import hashlib
import os

import pytest

from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.records import open_records


def test_fingerprint_is_of_names_and_contents_also_where_names_are_not_utf8(noise_faces, tmp_path):
    payloads = [encode_jpeg(image) for image in noise_faces(2)]
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "é.jpg").write_bytes(payloads[0])
    expected = hashlib.sha256("ann/é.jpg".encode() + b"\0" + hashlib.sha256(payloads[0]).digest())
    assert open_records(str(tmp_path)).fingerprint() == expected.hexdigest()
    try:
        (tmp_path / os.fsdecode(b"ren\xe9")).mkdir()
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    (tmp_path / os.fsdecode(b"ren\xe9") / "1.jpg").write_bytes(payloads[1])
    expected.update(b"ren\xe9/1.jpg\0" + hashlib.sha256(payloads[1]).digest())
    assert open_records(str(tmp_path)).fingerprint() == expected.hexdigest()
