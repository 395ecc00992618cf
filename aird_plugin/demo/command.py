"""`aird demo`: a model -> a page in the browser. Heavy imports stand inside the functions."""

import argparse
import base64
import hashlib
import ipaddress
import re
import sys
from importlib import resources
from pathlib import Path

NO_DETECTOR = "InsightFace's detector is not here (pip install 'aird_plugin[insightface]', and a model pack or --detector)"
PICTURE_LIMIT, QUESTION_LIMIT = 10_000_000, 400_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `aird demo`."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="the student: a run folder, an .onnx file, or a bare .pt file")
    add("--teacher", metavar="FILE", help="the teacher beside it, .onnx or .pt")
    add("--thresholds", metavar="FILE", help="the student's thresholds.json, from `aird export --thresholds`")
    add("--pairs", metavar="FILE", help="or measure thresholds now, the teacher's too, on this .bin")
    add("--detector", metavar="FILE", help="a detector of InsightFace's. default: the largest under ~/.insightface/models")
    add("--network", metavar="NAME", help="architecture of a bare .pt file, for example native16_1m")
    add("--host", metavar="ADDRESS", default="127.0.0.1", help="where to listen. default: 127.0.0.1, this machine alone")
    add("--port", metavar="N", type=int, default=8112, help="0: any free one. default: 8112")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C. Raises ValueError or OSError for bad input before anything is served."""
    check(args)
    with listen(args.host, args.port) as server:
        server.documents, server.questions = open_page(args)
        if not is_loopback(args.host):
            print(f"warning: --host {args.host}: who can reach this machine can use the page, unencrypted", file=sys.stderr)
        print(f"{server.url} (Ctrl-C ends it)", flush=True)
        server.serve_forever()
    return 0


def check(args: argparse.Namespace) -> None:
    """ValueError or FileNotFoundError where the arguments make no sense."""
    if args.thresholds and args.pairs:
        raise ValueError("--thresholds brings measured thresholds and --pairs measures them: give one of the two")
    if args.pairs and not Path(args.pairs).is_file():
        raise FileNotFoundError(f"no pairs file at {args.pairs}; give the path of an InsightFace .bin")
    if not 0 <= args.port <= 65535:
        raise ValueError(f"--port must lie between 0 and 65535, got {args.port}")


def listen(host: str, port: int):
    """The server on its port, before anything that takes long. OSError in words that say what to do."""
    from aird_plugin.demo.server import DemoServer

    try:
        return DemoServer(host, port)
    except OSError as error:
        raise OSError(f"cannot listen on {host}, port {port} ({error.strerror}); --port 0 takes a free one") from error


def open_page(args: argparse.Namespace) -> tuple[dict, dict]:
    """Everything loaded: the documents and the questions of the server."""
    from aird_plugin.demo.answers import Answers
    from aird_plugin.demo.pictures import open_detector
    from aird_plugin.demo.server import Document, Question, as_json
    from aird_plugin.lesson import pick_device

    device = pick_device("auto")
    detector = open_detector(args.detector)
    print(f"faces are found by {detector.file}" if detector else f"pictures are taken as aligned crops: {NO_DETECTOR}")
    answers = Answers(open_networks(args, device), detector, device)
    documents = {"/": Document("text/html; charset=utf-8", *page()), "/facts": as_json(answers.facts())}
    questions = {
        "/face": Question(PICTURE_LIMIT, answers.face),
        "/judgement": Question(QUESTION_LIMIT, answers.judgement),
    }
    return documents, questions


def open_networks(args: argparse.Namespace, device) -> list:
    """The teacher, if any, and the student, each with its thresholds, if any."""
    from aird_plugin.demo.judge import Network
    from aird_plugin.demo.rates import read_thresholds
    from aird_plugin.export.thresholds import threshold_table
    from aird_plugin.models.load import load_model, load_teacher

    table = read_thresholds(args.thresholds) if args.thresholds else None
    student = load_model(args.model, args.network, device)
    models = {"teacher": load_teacher(args.teacher, device=device)} if args.teacher else {}
    models["student"] = student
    tables = {"student": table}
    if args.pairs:
        for name, model in models.items():
            print(f"measuring the {name}'s thresholds on {args.pairs}", flush=True)
            tables[name] = threshold_table(model, args.pairs, device=device)
    return [Network(name, model, tables.get(name)) for name, model in models.items()]


def page() -> tuple[bytes, str]:
    """The page and its Content-Security-Policy: its own inline script and style, known by their hashes, and nothing else."""
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
    """Whether only this machine can reach that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
