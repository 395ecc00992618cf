"""The options with which `aird enrol`, `recognise` and `calibrate` open detector and networks. Heavy imports are inside."""

import argparse
from typing import TYPE_CHECKING, Any

from aird_plugin.cli.input_arguments import FORM, parse_input

if TYPE_CHECKING:
    from aird_plugin.recognition.analysis import TinyFaceAnalysis


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --models, --model-input, --root and --device."""
    add = parser.add_argument
    add(
        "--models",
        metavar="MODEL",
        nargs="+",
        default=["buffalo_l"],
        help="an InsightFace pack (name or folder), folders of `aird export` or .onnx files, which hold a detector, the HR "
        "recogniser and students of it. default: buffalo_l",
    )
    add(
        "--model-input",
        metavar="MODEL=HOW",
        action="append",
        default=[],
        help=f"how a network is fed, for example w600k_r50=color=bgr: {FORM}. default: by its file",
    )
    add(
        "--root",
        metavar="DIR",
        default="~/.insightface",
        help="the folder whose models/ holds the packs. default: ~/.insightface",
    )
    add("--device", metavar="NAME", choices=("cpu", "cuda"), default="cpu", help="cpu or cuda. default: cpu")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `add_network_arguments`, and --limit, --thresholds, --score and --det-size."""
    add_network_arguments(parser)
    add = parser.add_argument
    add(
        "--limit",
        metavar="STUDENT=PX",
        action="append",
        default=[],
        help="px below which this student embeds a face. default: as measured by `aird calibrate` or `aird export "
        "--thresholds`, else 28",
    )
    add(
        "--thresholds",
        metavar="FILE",
        help="thresholds of `aird calibrate`. default: those beside the models, and those of the exports",
    )
    add("--score", metavar="F", type=float, default=0.5, help="detection threshold, 0 to 1. default: 0.5")
    add(
        "--det-size",
        metavar="N",
        type=int,
        help="resize frames to fit N px, a multiple of 32, for the detector. default: their own size, 640 to 1920 px",
    )


def open_analysis(args: argparse.Namespace, detect: bool = True) -> "TinyFaceAnalysis":
    """The analysis of these options, prepared. Raises ValueError, FileNotFoundError or ImportError.

    detect: False leaves out the detector, for aligned crops.
    """
    from aird_plugin.alignment.detector import CPU
    from aird_plugin.recognition.analysis import STRIDE, TinyFaceAnalysis
    from aird_plugin.recognition.networks import CUDA

    if not 0 < args.score < 1:
        raise ValueError(f"--score must be above 0 and below 1, got {args.score}")
    if args.det_size is not None and (args.det_size <= 0 or args.det_size % STRIDE):
        raise ValueError(f"--det-size must be a multiple of {STRIDE} above 0, got {args.det_size}")
    providers = [CUDA, CPU] if args.device == "cuda" else [CPU]
    limits, inputs = read_limits(args.limit), read_inputs(args.model_input)
    analysis = TinyFaceAnalysis(
        args.models, args.root, providers=providers, limits=limits, thresholds=args.thresholds, inputs=inputs
    )
    if not detect:
        return analysis
    size = None if args.det_size is None else (args.det_size, args.det_size)
    analysis.prepare(0 if args.device == "cuda" else -1, args.score, size)
    return analysis


def read_limits(words: list[str]) -> dict[str, float]:
    """STUDENT=PX words as a dict. ValueError for another form."""
    limits = {}
    for word in words:
        name, equals, px = word.rpartition("=")
        try:
            limits[name] = float(px)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise ValueError(f"--limit takes STUDENT=PX, for example tiny_faces=28; got {word!r}")
    return limits


def read_inputs(words: list[str]) -> dict[str, dict[str, Any]]:
    """MODEL=HOW words as a dict of what `TeacherInput.of` takes. ValueError for another form."""
    inputs = {}
    for word in words:
        name, equals, how = word.partition("=")
        if not equals or not name or not ("=" in how or how.startswith("{")):
            raise ValueError(f"--model-input takes MODEL=HOW, for example w600k_r50=color=bgr; got {word!r}")
        inputs[name] = parse_input("--model-input", how) or {}
    return inputs


def describe(analysis: "TinyFaceAnalysis") -> str:
    """One line on networks and limits."""
    from aird_plugin.recognition.routing import describe_sizes

    networks = analysis.models.networks
    sizes = describe_sizes(networks, analysis.limits)
    parts = [f"{network.name} ({network.side} px input) {size}" for network, size in zip(networks, sizes, strict=True)]
    return f"networks: {', '.join(parts)}; detector: {analysis.detector.file.name if analysis.detector else 'none'}"
