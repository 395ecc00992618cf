"""The demo application: loads the models, measures or reads their thresholds, and opens the server."""

import base64
import hashlib
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

from aird_plugin.demo.api import DemoApi
from aird_plugin.demo.comparison import Network
from aird_plugin.demo.face_crop import open_detector
from aird_plugin.demo.server import DemoServer, Document, Endpoint, as_json
from aird_plugin.export.thresholds import threshold_table
from aird_plugin.export.thresholds_file import check_owner, read_thresholds
from aird_plugin.models.load import load_model, load_teacher
from aird_plugin.models.recorded import is_same_teacher, recorded_metadata
from aird_plugin.training.setup import pick_device

NO_DETECTOR = "no InsightFace detector found (pip install 'aird_plugin[insightface]', and a model pack or --detector)"
IMAGE_LIMIT, REQUEST_LIMIT = 10_000_000, 400_000


@dataclass(frozen=True)
class DemoOptions:
    """The options of `aird demo`. network: architecture of a bare .pt file. thresholds, pairs: at most one of the two.

    model_input, teacher_input: how an .onnx file is fed, None for the rules.
    """

    model: str
    network: str | None = None
    teacher: str | None = None
    thresholds: str | None = None
    pairs: str | None = None
    detector: str | None = None
    host: str = "127.0.0.1"
    port: int = 8112
    model_input: dict | None = None
    teacher_input: dict | None = None


def open_demo(options: DemoOptions, log: Callable[[str], None]) -> DemoServer:
    """A server with all routes, ready for `serve_forever`. Binds the port before the models are loaded.

    Raises ValueError or OSError for bad input. log: receives progress lines.
    """
    server = bind(options.host, options.port)
    try:
        device = pick_device("auto")
        detector = open_detector(options.detector)
        log(f"detecting faces with {detector.file}" if detector else f"images are used as aligned crops: {NO_DETECTOR}")
        api = DemoApi(load_networks(options, device, log), detector, device)
        server.documents, server.endpoints = routes(api)
    except BaseException:
        server.server_close()
        raise
    return server


def bind(host: str, port: int) -> DemoServer:
    """A server bound to its port, without routes. Raises OSError with advice if the address is not available."""
    try:
        return DemoServer(host, port)
    except OSError as error:
        raise OSError(f"cannot listen on {host}, port {port} ({error.strerror}); --port 0 picks a free port") from error


def routes(api: DemoApi) -> tuple[dict[str, Document], dict[str, Endpoint]]:
    """The documents (GET) and endpoints (POST) of the server, by path."""
    documents = {"/": Document("text/html; charset=utf-8", *page()), "/info": as_json(api.info())}
    endpoints = {"/face": Endpoint(IMAGE_LIMIT, api.face), "/comparison": Endpoint(REQUEST_LIMIT, api.comparison)}
    return documents, endpoints


def load_networks(options: DemoOptions, device, log: Callable[[str], None]) -> list[Network]:
    """The teacher, if any, and the student, each with its thresholds, if any."""
    table = read_thresholds(options.thresholds) if options.thresholds else None
    student = load_model(options.model, options.network, device, options.model_input)
    if table and (doubt := check_owner(str(options.thresholds), table, options.model, student)):
        log(doubt)
    models: dict[str, Any] = {}
    if options.teacher:
        teacher = models["teacher"] = load_teacher(options.teacher, device=device, teacher_input=options.teacher_input)
        if is_same_teacher(recorded_metadata(options.model, student), teacher) is False:
            log(f"WARNING {options.teacher} is not the teacher that {options.model} was trained with")
    models["student"] = student
    tables = {"student": table}
    if options.pairs:
        for name, model in models.items():
            log(f"measuring the {name}'s thresholds on {options.pairs}")
            tables[name] = threshold_table(model, options.pairs, device=device)
    return [Network(name, model, tables.get(name)) for name, model in models.items()]


def page() -> tuple[bytes, str]:
    """The page and its Content-Security-Policy, which allows only the page's own inline script and style, by hash."""
    html = resources.files("aird_plugin.demo").joinpath("page.html").read_bytes()
    hashes = {}
    for tag in ("script", "style"):
        (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), html, re.S)
        hashes[tag] = f"'sha256-{base64.b64encode(hashlib.sha256(inline).digest()).decode()}'"
    return html, (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def is_loopback(host: str) -> bool:
    """Whether the address is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
