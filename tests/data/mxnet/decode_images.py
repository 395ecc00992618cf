"""Print what MXNet decodes: `python decode_images.py FILE...`, one JSON line a file: [shape, sha256 of the RGB bytes]."""

import hashlib
import json
import sys

from mxnet import image

for path in sys.argv[1:]:
    with open(path, "rb") as file:
        face = image.imdecode(file.read()).asnumpy()
    print(json.dumps([face.shape, hashlib.sha256(face.tobytes()).hexdigest()]))
