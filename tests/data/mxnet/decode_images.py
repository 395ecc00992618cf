"""Print what MXNet decodes: `python decode_images.py FILE...`, one JSON line per file: [shape, sha256 of the RGB bytes]."""

import hashlib
import json
import sys

from mxnet import image

for path in sys.argv[1:]:
    with open(path, "rb") as file:
        rgb = image.imdecode(file.read()).asnumpy()
    print(json.dumps([rgb.shape, hashlib.sha256(rgb.tobytes()).hexdigest()]))
