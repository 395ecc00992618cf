"""Print the records that MXNet reads from a file: `python dump_records.py FILE.rec`, one JSON line per record.

A line is [key, labels as hex, id, id2, sha256 of the payload]. It runs where MXNet is installed, started by the tests.
"""

import hashlib
import json
import sys

import numpy as np
from mxnet import recordio

path = sys.argv[1]
file = recordio.MXIndexedRecordIO(path[: -len("rec")] + "idx", path, "r")
for key in file.keys:
    header, payload = recordio.unpack(file.read_idx(key))
    labels = np.atleast_1d(np.asarray(header.label, np.float32)).tobytes().hex()
    print(json.dumps([key, labels, header.id, header.id2, hashlib.sha256(payload).hexdigest()]))
