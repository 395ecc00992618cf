"""What the demo does behind its page: load networks, detector and gallery, and measure thresholds."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aird_plugin.alignment.detector import Detector
from aird_plugin.demo.api import DemoApi
from aird_plugin.demo.background import Background
from aird_plugin.demo.comparison import Network
from aird_plugin.demo.face_crop import open_detector
from aird_plugin.demo.photo import PHOTO_REQUEST_LIMIT, PhotoApi
from aird_plugin.demo.server import Document, Endpoint, as_json
from aird_plugin.evaluation.pair_files import check_pairs_file
from aird_plugin.export.thresholds import SIDES, threshold_table
from aird_plugin.export.thresholds_file import check_owner, read_thresholds
from aird_plugin.models.coordinates import has_coordinates_of
from aird_plugin.models.find import find_model
from aird_plugin.models.load import load_model, load_teacher
from aird_plugin.models.recorded import recorded_metadata
from aird_plugin.recognition import calibration
from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.recognition.gallery import Gallery
from aird_plugin.recognition.measure import SIDES as PHOTO_SIDES
from aird_plugin.recognition.measure import measure as measure_crops
from aird_plugin.utils.counts import counted_identities
from aird_plugin.utils.devices import pick_device
from aird_plugin.utils.errors import EXPECTED, describe
from aird_plugin.utils.warning import warning_line

NO_DETECTOR = "no InsightFace detector found (pip install 'aird_plugin[insightface]', and a model pack or --detector)"
NOT_EXPORTED = "names in a photo need exported networks (.onnx): export the run with `aird export RUN --out DIR`, then open DIR"
IMAGE_LIMIT, REQUEST_LIMIT = 10_000_000, 400_000
EXAMPLE = "data/images/t1.jpg"


def load(options: Any, log: Callable[[str], None]) -> DemoApi:
    """The endpoints for these `DemoOptions`; log receives a line a step. Raises ValueError, OSError or ImportError."""
    if options.pairs:
        check_pairs_file(options.pairs, images=False)
    device = pick_device("auto")
    detector = open_detector(options.detector)
    log(f"detecting faces with {detector.file}" if detector else f"images are used as aligned crops: {NO_DETECTOR}")
    networks = load_networks(options, device, log)
    photo, reason = open_photo(options, detector)
    if photo and options.gallery:
        log(f"{counted_identities(len(photo.gallery))} in {options.gallery}")
    return DemoApi(networks, detector, device, photo, reason)


def routes(api: DemoApi) -> tuple[dict[str, Any], dict[str, Endpoint]]:
    """The documents (GET) and endpoints (POST) that need the models, by path."""
    documents: dict[str, Any] = {"/info": lambda: as_json(api.info())}
    endpoints = {"/face": Endpoint(IMAGE_LIMIT, api.face), "/comparison": Endpoint(REQUEST_LIMIT, api.comparison)}
    if api.photo:
        endpoints["/photo"] = Endpoint(PHOTO_REQUEST_LIMIT, api.photo.recognise)
        if example := example_photo():
            documents["/example"] = Document("image/jpeg", example.read_bytes())
    return documents, endpoints


def load_networks(options: Any, device, log: Callable[[str], None]) -> list[Network]:
    """The teacher, if any, and the student with its thresholds, if any: those given, else those of its export."""
    file = options.thresholds or (None if options.pairs else thresholds_of_export(options.model))
    table = read_thresholds(file) if file else None
    student = load_model(options.model, options.network, device, options.model_input)
    if table and (doubt := check_owner(str(file), table, options.model, student)):
        log(doubt)
    networks = [Network("student", student, table)]
    if options.teacher:
        teacher = load_teacher(options.teacher, device=device, teacher_input=options.teacher_input)
        if has_coordinates_of(recorded_metadata(options.model, student), teacher) is False:
            log(warning_line(f"{options.teacher} is not the teacher that {options.model} was trained with"))
        networks.insert(0, Network("teacher", teacher, None))
    return networks


def thresholds_of_export(model: str) -> Path | None:
    """The thresholds.json beside an exported model, if there is one."""
    file = find_model(model).file
    folders = [file.parent, *([file.parent.parent] if file.parent.name == "native" else [])]
    return next((folder / "thresholds.json" for folder in folders if (folder / "thresholds.json").is_file()), None)


def open_photo(options: Any, detector: Detector | None) -> tuple[PhotoApi | None, str]:
    """The endpoint for photos and "", or None and why there is none; with --gallery, that is an error."""
    try:
        analysis = open_analysis(options, detector)
    except EXPECTED as error:
        if options.gallery:
            raise
        return None, describe(error)
    return PhotoApi(analysis, open_gallery(options.gallery, analysis)), ""


def open_analysis(options: Any, detector: Detector | None) -> TinyFaceAnalysis:
    """Student and teacher on frames. Raises ValueError where they are not exported or do not belong together."""
    if detector is None:
        raise ValueError(NO_DETECTOR)
    if options.model_input or options.teacher_input:
        raise ValueError("photos are embedded by the rules: leave out --input and --teacher-input")
    sources = [Path(path) for path in (options.model, options.teacher) if path]
    if any(find_model(source).file.suffix != ".onnx" for source in sources):
        raise ValueError(NOT_EXPORTED)
    analysis = TinyFaceAnalysis([detector.file, *sources])
    analysis.prepare(-1)
    if options.thresholds:
        section = read_thresholds(options.thresholds).get(calibration.SECTION)
        calibrate(analysis, section["entries"] if section else [])
    return analysis


def open_gallery(path: str | None, analysis: TinyFaceAnalysis) -> Gallery:
    """The gallery of a folder of photos or of a file; an empty one for None."""
    if path is None:
        return Gallery(analysis)
    if not Path(path).exists():
        raise FileNotFoundError(f"no gallery at {path}; give a folder of photos, or a file of `aird enrol`")
    return Gallery.enrol(path, analysis) if Path(path).is_dir() else Gallery.load(path, analysis)


def measure(api: DemoApi, pairs: str, lock: threading.Lock, background: Background, log: Callable[[str], None]) -> None:
    """Measure the thresholds for photos, then those of every network for two faces; the endpoints use each when it is done.

    lock: held while the endpoints' tables change.
    """
    recognisers = api.photo.analysis.models.networks if api.photo else []
    photo_steps = len(recognisers) * len(PHOTO_SIDES) + 1 if recognisers else 0
    background.report_steps(photo_steps + len(api.networks) * len(SIDES))
    if api.photo:
        log(f"measuring thresholds for photos on {pairs}")
        background.report_task("measuring the thresholds for photos")
        section = measure_crops(recognisers, pairs)
        with lock:
            calibrate(api.photo.analysis, section["entries"])
        background.report_change()
    for number, network in reversed(list(enumerate(api.networks))):
        log(f"measuring the {network.name}'s thresholds on {pairs}")
        background.report_task(f"measuring the {network.name}'s thresholds for two faces")
        table = threshold_table(network.model, pairs, device=api.device)
        with lock:
            api.networks[number] = network._replace(thresholds=table)
        background.report_change()


def calibrate(analysis: TinyFaceAnalysis, entries: list[dict]) -> None:
    """Use measured thresholds, and the limits between the networks that follow from them."""
    from aird_plugin.recognition.routing import find_limits

    analysis.calibration = calibration.Calibration(entries)
    analysis.limits = find_limits(analysis.models, analysis.calibration)


def example_photo() -> Path | None:
    """InsightFace's own photo of six people, which its package brings."""
    import insightface

    file = Path(insightface.__file__).parent / EXAMPLE
    return file if file.is_file() else None
