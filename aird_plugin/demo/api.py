"""The endpoints of the demo page: settings at the start, a face from an image file, a comparison of two faces."""

import base64
import json

import numpy as np

from aird_plugin.alignment.detector import Detector
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.degradation import DEGRADATIONS
from aird_plugin.data.images import decode
from aird_plugin.data.lowres import MIN_PX
from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.demo.comparison import Network, compare_faces
from aird_plugin.demo.face_crop import extract_face, png
from aird_plugin.demo.photo import PhotoApi

# (identity, image) of `draw_person`: three synthetic identities, two images each.
EXAMPLES = ((2, 3), (2, 4), (6, 2), (6, 4), (3, 1), (3, 3))
REQUEST_FORMAT = 'a request is {"faces": [{"png": base64, "px": number}, and another], "px": number, "degradation": name}'


class DemoApi:
    """Request handlers that share the networks and the detector, if any. No request is stored.

    photo: the handler of photos with several people; None where there is none, and then no_photo says why.
    """

    def __init__(
        self,
        networks: list[Network],
        detector: Detector | None = None,
        device="cpu",
        photo: PhotoApi | None = None,
        no_photo: str = "",
    ):
        self.networks, self.detector, self.device = networks, detector, device
        self.photo, self.no_photo = photo, no_photo

    def info(self) -> dict:
        """The settings the page needs at the start, and again when thresholds have been measured."""
        tables = [network.thresholds for network in self.networks if network.thresholds]
        first = tables[0] if tables else None
        return {
            "networks": [network.name for network in self.networks],
            "detector": self.detector is not None,
            "degradations": list(DEGRADATIONS),
            "degradation": first["degradation"] if first else "insightface-warp",
            "px": [MIN_PX, FACE_SIDE],
            "rates": [point["far"] for point in first["rows"][0]["points"]] if first else [],
            "supported": [point["far"] for point in first["rows"][0]["points"] if point["cosine"] is not None] if first else [],
            "pairs": first["pairs"] if first else None,
            "impostors": first["rows"][0]["points"][0]["n_impostor"] if first else None,
            "photo": self.photo and self.photo.info(),
            "no_photo": self.no_photo,
            "examples": [_base64_png(draw_person(*example)) for example in EXAMPLES],
        }

    def face(self, payload: bytes) -> dict:
        """An image file -> its aligned face. Raises ValueError as `extract_face`."""
        face = extract_face(payload, self.detector)
        return {"png": _base64_png(face.face_HWC), "px": face.px, "notes": face.notes}

    def comparison(self, payload: bytes) -> dict:
        """JSON with two aligned faces and a px -> the output of `compare_faces`. Raises ValueError for an invalid request."""
        images_2HWC, own_px_2, px, degradation = read_comparison_request(payload)
        comparison = compare_faces(self.networks, images_2HWC, own_px_2, px, degradation, self.device)
        return {
            "low": [_base64_png(image) for image in comparison.low_2SSC],
            "px": comparison.px,
            "networks": [
                {**result._asdict(), "inputs_2SSC": [_base64_png(image) for image in result.inputs_2SSC]}
                for result in comparison.results
            ],
        }


def read_comparison_request(payload: bytes) -> tuple[np.ndarray, list[float], int, str]:
    """JSON bytes -> images uint8 (2, 112, 112, 3), original px of both, px, degradation. ValueError for an invalid request."""
    try:
        request = json.loads(payload)
        files = [base64.b64decode(face["png"], validate=True) for face in request["faces"]]
        own_px_2 = [float(face["px"]) for face in request["faces"]]
        px, degradation = request["px"], str(request["degradation"])
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{REQUEST_FORMAT}; got {len(payload)} other bytes ({type(error).__name__})") from error
    if len(files) != 2 or not all(MIN_PX <= own <= FACE_SIDE for own in own_px_2):
        raise ValueError(f"{REQUEST_FORMAT}: two faces of {MIN_PX} to {FACE_SIDE} px; got {len(files)} of {own_px_2} px")
    images = [decode(file, "a face") for file in files]
    for image_HWC in images:
        if image_HWC.shape[:2] != (FACE_SIDE, FACE_SIDE):
            raise ValueError(f"aligned faces have {FACE_SIDE}x{FACE_SIDE} pixels; got {image_HWC.shape[1]}x{image_HWC.shape[0]}")
    return np.stack(images), own_px_2, px, degradation


def _base64_png(image_HWC: np.ndarray) -> str:
    return base64.b64encode(png(image_HWC)).decode()
