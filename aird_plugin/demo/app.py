"""The demo application: a server that answers at once, and a thread behind it that loads the models and measures thresholds."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from aird_plugin.demo.background import Background
from aird_plugin.demo.page_document import page
from aird_plugin.demo.server import DemoServer, Document


@dataclass(frozen=True)
class DemoOptions:
    """The options of `aird demo`. network: architecture of a bare .pt file. thresholds, pairs: at most one of the two.

    gallery: a folder of photos or a gallery file. model_input, teacher_input: how an .onnx file is fed, None for the rules.
    """

    model: str
    network: str | None = None
    teacher: str | None = None
    thresholds: str | None = None
    pairs: str | None = None
    detector: str | None = None
    gallery: str | None = None
    host: str = "127.0.0.1"
    port: int = 8112
    model_input: dict | None = None
    teacher_input: dict | None = None


def open_demo(options: DemoOptions) -> DemoServer:
    """A server bound to its port that serves the page and nothing else yet. Raises OSError if the address is not available."""
    server = bind(options.host, options.port)
    server.documents = {"/": Document("text/html; charset=utf-8", *page())}
    return server


def in_background(server: DemoServer, options: DemoOptions, log: Callable[[str], None]) -> Background:
    """A context in which a thread loads the models, adds their routes to the server, and measures thresholds. log: of its steps.

    On leaving, the thread is stopped, and the error that kept it from loading is raised.
    """

    def work(background: Background) -> None:
        # Imports torch: while the page is served, not before.
        from aird_plugin.demo.loading import load, measure, routes

        api = load(options, log)
        documents, endpoints = routes(api)
        server.documents = server.documents | documents
        server.endpoints = endpoints
        background.report_ready()
        if options.pairs:
            measure(api, options.pairs, server.inference_lock, background, log)

    background = Background(server, work)
    server.documents["/progress"] = background.document
    return background


def bind(host: str, port: int) -> DemoServer:
    """A server bound to its port, without routes. Raises OSError with advice if the address is not available."""
    try:
        return DemoServer(host, port)
    except OSError as error:
        raise OSError(f"cannot listen on {host}, port {port} ({error.strerror}); --port 0 picks a free port") from error


def is_loopback(host: str) -> bool:
    """Whether the address is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
