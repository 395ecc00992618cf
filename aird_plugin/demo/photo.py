"""The endpoint for a photo with several people: its faces, their px, the network of each, and the best match in a gallery.

D = embedding width.
"""

import base64
import io
import json
import math
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.images import decode, encode_jpeg
from aird_plugin.recognition.analysis import MAX_DETECTION_SIDE, TinyFaceAnalysis
from aird_plugin.recognition.enrolment import choose_main
from aird_plugin.recognition.gallery import Gallery
from aird_plugin.recognition.match import Match
from aird_plugin.recognition.routing import describe_sizes

WHERE = "the photo"
MIN_SHARE, MIN_SIDE = 0.01, 8
# Of one request; a photo in base64 is a third longer than its file.
MAX_FACES, MAX_IDENTITIES, MAX_ENROLLED, CANDIDATES = 100, 200, 500, 3
PHOTO_LIMIT, ENROLLED_LIMIT = 10_000_000, 3_000_000
PHOTO_REQUEST_LIMIT = PHOTO_LIMIT * 4 // 3 + ENROLLED_LIMIT
# Below, the shrunk photo is shown as it is; above, JPEG's errors are too small to see.
LOSSLESS_SIDE = 512
DEFAULT_FAR = 0.01
REQUEST_FORMAT = (
    'a request is {"photo": base64, "share": 0.01 to 1, "far": number or null, "gallery": '
    '[{"name": text, "faces": [{"embedding": base64 of float32, "px": number, "network": hash}]}]}'
)


class PhotoRequest(NamedTuple):
    """photo: an image file. share: of its sides that is left after shrinking. gallery: identities enrolled on the page."""

    photo: bytes
    share: float
    far: float
    gallery: dict[str, list]


class PhotoApi:
    """Recognises a photo's faces; stores no request. gallery: that of the command line; a request may bring more."""

    def __init__(self, analysis: TinyFaceAnalysis, gallery: Gallery):
        self.analysis, self.gallery = analysis, gallery

    def info(self) -> dict:
        """The settings that the page needs."""
        analysis = self.analysis
        sizes = describe_sizes(analysis.models.networks, analysis.limits)
        networks = [
            {"name": network.name, "side": network.side, "sizes": text}
            for network, text in zip(analysis.models.networks, sizes, strict=True)
        ]
        return {"networks": networks, "rates": analysis.calibration.fars[::-1], "gallery": len(self.gallery)}

    def recognise(self, payload: bytes) -> dict:
        """JSON with a photo -> its faces, in pixels of the shrunk photo. Raises ValueError for an invalid request."""
        request = read_photo_request(payload, self.analysis)
        photo_HWC = shrink(decode(request.photo, WHERE, upright=True), request.share)
        frame_HWC = np.ascontiguousarray(photo_HWC[..., ::-1])
        faces = self.analysis.get(frame_HWC, max_num=MAX_FACES)
        gallery = self._gallery(request.gallery)
        matches: list[Match | None] = [None] * len(faces)
        if len(gallery):
            matches = [*gallery.search([[face] for face in faces], top=CANDIDATES, far=request.far)]
        main = choose_main(faces, frame_HWC)
        return {
            "width": photo_HWC.shape[1],
            "height": photo_HWC.shape[0],
            "image": data_url(photo_HWC),
            "identities": len(gallery),
            "faces": [as_dict(face, match, face is main) for face, match in zip(faces, matches, strict=True)],
        }

    def _gallery(self, enrolled: dict[str, list]) -> Gallery:
        """The gallery of the command line with the page's identities, which replace those of the same name."""
        if not enrolled:
            return self.gallery
        own, both = Gallery(self.analysis), Gallery(self.analysis)
        for name, faces in enrolled.items():
            own.add(name, faces)
        both.merge(self.gallery)
        both.merge(own, replace=True)
        return both


def read_photo_request(payload: bytes, analysis: TinyFaceAnalysis) -> PhotoRequest:
    """JSON bytes -> a request. Raises ValueError for another structure, and for embeddings of other networks."""
    try:
        request = json.loads(payload)
        photo = base64.b64decode(request["photo"], validate=True)
        share, far = float(request["share"]), DEFAULT_FAR if request["far"] is None else float(request["far"])
        listed = [(one["name"], list(one["faces"])) for one in request["gallery"]]
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{REQUEST_FORMAT}; got {len(payload)} other bytes ({type(error).__name__})") from error
    count = sum(len(faces) for _, faces in listed)
    if len(listed) > MAX_IDENTITIES or count > MAX_ENROLLED:
        raise ValueError(
            f"{len(listed)} identities with {count} faces are too many for the page ({MAX_IDENTITIES} and {MAX_ENROLLED}); "
            "make a gallery with `aird enrol`, and give it with --gallery"
        )
    if not MIN_SHARE <= share <= 1:
        raise ValueError(f"share is the part of the photo's sides that is left, {MIN_SHARE} to 1; got {share}")
    if len(photo) > PHOTO_LIMIT:
        raise ValueError(f"the photo has {len(photo) / 1e6:.1f} MB; the limit is {PHOTO_LIMIT / 1e6:g} MB")
    return PhotoRequest(photo, share, far, read_enrolled(listed, analysis))


def read_enrolled(listed: list[tuple[Any, list]], analysis: TinyFaceAnalysis) -> dict[str, list]:
    """Name -> `Face` objects of the page's identities. Raises ValueError for what no earlier response of this server held."""
    from insightface.app.common import Face

    gallery: dict[str, list] = {}
    for name, entries in listed:
        if not isinstance(name, str) or name in gallery:
            raise ValueError(f"every identity of a request has a name of its own; got {str(name)[:60]!r}")
        gallery[name] = []
        for entry in entries:
            try:
                embedding_D = np.frombuffer(base64.b64decode(entry["embedding"], validate=True), np.float32)
                px, network = float(entry["px"]), str(entry["network"])
            except (ValueError, KeyError, TypeError, OverflowError) as error:
                raise ValueError(f"{REQUEST_FORMAT}; got another face ({type(error).__name__})") from error
            if embedding_D.shape != (analysis.dim,) or not np.isfinite(embedding_D).all() or not embedding_D.any():
                raise ValueError(f"an embedding has {analysis.dim} finite numbers, not all 0; got {embedding_D.size}")
            if not 0 < px < math.inf:
                raise ValueError(f"a face has more than 0 px, got {px}")
            quality = min(px, FACE_SIDE) / FACE_SIDE
            gallery[name].append(Face(embedding=embedding_D, px=px, network_id=network, quality=quality))
    return gallery


def shrink(photo_HWC: np.ndarray, share: float) -> np.ndarray:
    """The whole photo at this share of its sides, by Pillow's bicubic. Raises ValueError for one of no use to a detector."""
    height, width = photo_HWC.shape[:2]
    size = round(width * share), round(height * share)
    if min(size) < MIN_SIDE or min(size) * MAX_DETECTION_SIDE < max(size) * MIN_SIDE:
        raise ValueError(f"{WHERE} has {size[0]}x{size[1]} pixels at this size; a side needs at least {MIN_SIDE}")
    if size == (width, height):
        return photo_HWC
    return np.asarray(Image.fromarray(photo_HWC).resize(size, Image.Resampling.BICUBIC))


def data_url(photo_HWC: np.ndarray) -> str:
    """A photo for the page to show, lossless where it is small, and of at most the side that the detector sees."""
    side = max(photo_HWC.shape[:2])
    if side > MAX_DETECTION_SIDE:
        photo_HWC = shrink(photo_HWC, MAX_DETECTION_SIDE / side)
    if side > LOSSLESS_SIDE:
        kind, file = "jpeg", encode_jpeg(photo_HWC, 90)
    else:
        buffer = io.BytesIO()
        Image.fromarray(photo_HWC).save(buffer, "PNG")
        kind, file = "png", buffer.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(file).decode()}"


def as_dict(face: Any, match: Match | None, main: bool) -> dict:
    """One face for the page. embedding, network_id: what a later request enrols it by; None where there is no embedding."""
    usable = face.embedding is not None
    return {
        "box": [round(float(side), 2) for side in face.bbox],
        "score": float(face.det_score),
        "px": float(face.px) if usable else None,
        "network": face.embedded_by if usable else None,
        "network_id": face.network_id if usable else None,
        "embedding": base64.b64encode(face.embedding.astype(np.float32).tobytes()).decode() if usable else None,
        "main": main,
        "match": match and {key: value for key, value in match._asdict().items() if key not in ("px", "network")},
    }
