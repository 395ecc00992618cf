"""What the page asks, as functions of bytes: facts at the start, a face for a picture, a judgement for two faces."""

import base64
import json

import numpy as np

from aird_plugin.alignment.detector import Detector
from aird_plugin.data.degrade import DEGRADATIONS
from aird_plugin.data.images import decode
from aird_plugin.data.lowres import FACE_SIDE, MIN_PX
from aird_plugin.data.synthetic import draw_person
from aird_plugin.demo.judge import Network, judge
from aird_plugin.demo.pictures import face_in, png

# (person, photo) of `draw_person`: people who do not exist, two photos of each.
EXAMPLES = ((2, 3), (2, 4), (6, 2), (6, 4), (3, 1), (3, 3))
QUESTION = 'a question is {"faces": [{"png": base64, "px": number}, and another], "px": number, "degradation": name}'


class Answers:
    """The networks before which pictures are laid, and the detector, if any. Nothing that is asked is kept."""

    def __init__(self, networks: list[Network], detector: Detector | None = None, device="cpu"):
        self.networks, self.detector, self.device = networks, detector, device

    def facts(self) -> dict:
        """What the page shows before any face is there."""
        tables = {network.name: network.thresholds for network in self.networks if network.thresholds}
        first = next(iter(tables.values()), None)
        return {
            "networks": [network.name for network in self.networks],
            "detector": self.detector is not None,
            "degradations": list(DEGRADATIONS),
            "degradation": first["degradation"] if first else "insightface-warp",
            "px": [MIN_PX, FACE_SIDE],
            "rates": [point["far"] for point in first["rows"][0]["points"]] if first else [],
            "pairs": first["pairs"] if first else None,
            "impostors": first["rows"][0]["points"][0]["n_impostor"] if first else None,
            "examples": [_picture(draw_person(*which)) for which in EXAMPLES],
        }

    def face(self, payload: bytes) -> dict:
        """A picture file -> its aligned face. ValueError as `face_in`."""
        face = face_in(payload, self.detector)
        return {"png": _picture(face.face_HWC), "px": face.px, "notes": face.notes}

    def judgement(self, payload: bytes) -> dict:
        """Two aligned faces and a px, as JSON -> what `judge` says. ValueError for another question, and as `judge`."""
        faces_2HWC, own_px_2, px, degradation = read_question(payload)
        said = judge(self.networks, faces_2HWC, own_px_2, px, degradation, self.device)
        return {
            "low": [_picture(face) for face in said.low_2SSC],
            "px": said.px,
            "networks": [{**sight._asdict(), "seen_2SSC": [_picture(face) for face in sight.seen_2SSC]} for sight in said.sights],
        }


def read_question(payload: bytes) -> tuple[np.ndarray, list[float], int, str]:
    """JSON bytes -> faces uint8 (2, 112, 112, 3), the px each really has, px, degradation. ValueError for anything else."""
    try:
        asked = json.loads(payload)
        files = [base64.b64decode(face["png"], validate=True) for face in asked["faces"]]
        own_px_2 = [float(face["px"]) for face in asked["faces"]]
        px, degradation = asked["px"], str(asked["degradation"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{QUESTION}; got {len(payload)} bytes of something else ({type(error).__name__})") from error
    if len(files) != 2 or not all(MIN_PX <= own <= FACE_SIDE for own in own_px_2):
        raise ValueError(f"{QUESTION}: two faces of {MIN_PX} to {FACE_SIDE} px; got {len(files)} of {own_px_2} px")
    faces = [decode(file, "a face") for file in files]
    for face_HWC in faces:
        if face_HWC.shape[:2] != (FACE_SIDE, FACE_SIDE):
            raise ValueError(f"aligned faces have {FACE_SIDE}x{FACE_SIDE} pixels; got {face_HWC.shape[1]}x{face_HWC.shape[0]}")
    return np.stack(faces), own_px_2, px, degradation


def _picture(face_HWC: np.ndarray) -> str:
    return base64.b64encode(png(face_HWC)).decode()
