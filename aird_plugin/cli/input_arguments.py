"""The command-line options that name teachers and state how they, or an .onnx model, are fed. Heavy imports are inside."""

import argparse
import ast
import json
import re
from typing import Any

FORM = "key=value,... or JSON; keys: color (rgb, bgr), mean, std (grey levels), output, layout, size (112, or (112, 96)), dtype"


class OneOrSeveral(argparse.Action):
    """The value of an option given once, and a tuple of its values where it is given several times."""

    def __call__(self, parser, namespace, values, option_string=None):
        before = getattr(namespace, self.dest)
        several = before if isinstance(before, tuple) else () if before is None else (before,)
        setattr(namespace, self.dest, (*several, values) if several else values)


INPUT_FLAGS: dict[str, dict[str, Any]] = {
    "--teacher-input": dict(metavar="HOW", help=f"how the teacher is fed: {FORM}. default: by its file (docs/teacher.md)"),
    "--input": dict(
        metavar="HOW", help="how MODEL is fed, in the form of --teacher-input: an .onnx file; a bare .pt by color, mean and std"
    ),
}


def parse_input(flag: str, text: str | None, file: str | None = "") -> dict[str, Any] | None:
    """The dict that `TeacherInput.of` takes: `color=bgr,mean=(104, 117, 123)` or a JSON object; None for no text.

    file: the model that it is about. Raises ValueError for other text, an unknown key or value, or without a file.
    """
    if text is None:
        return None
    if file is None:
        raise ValueError(f"{flag} states how the teacher is fed: give --teacher FILE, or leave it out")
    given = _json(flag, text) if text.lstrip().startswith("{") else dict(_pair(flag, part) for part in _parts(text))
    from aird_plugin.models.teacher_input import TeacherInput

    try:
        TeacherInput.of(given, flag)
    except ValueError as error:
        raise ValueError(f"{flag} {text}: {str(error).removeprefix(flag).lstrip(': ')}") from error
    return given


def open_teachers(args: argparse.Namespace, device) -> Any:
    """The teacher of --teacher, or the ensemble of several, fed as --teacher-input states; None without one.

    Raises ValueError for --teacher-join without several teachers, and what `load_teachers` raises.
    """
    from aird_plugin.models.load import load_teachers

    texts = args.teacher_input if isinstance(args.teacher_input, tuple) else (args.teacher_input,)
    inputs = tuple(parse_input("--teacher-input", text, args.teacher) for text in texts)
    if args.teacher_join is not None and not isinstance(args.teacher, tuple):
        raise ValueError("--teacher-join joins several teachers: give --teacher several times, or leave it out")
    if not args.teacher:
        return None
    join = "mean" if args.teacher_join is None else args.teacher_join
    return load_teachers(args.teacher, None, device, inputs if len(inputs) > 1 else inputs[0], join)


def _parts(text: str) -> list[str]:
    """Split at the commas that a key follows: those inside (1, 2, 3) stay."""
    return re.split(r",(?=\s*[A-Za-z_]\w*\s*=)", text)


def _pair(flag: str, part: str) -> tuple[str, Any]:
    key, equals, value = (word.strip() for word in part.partition("="))
    if not equals or not key:
        raise ValueError(f"{flag}: {part!r} is not key=value; an example is {flag} color=bgr,mean=127.5,std=128")
    try:
        return key, ast.literal_eval(value)
    # Everything that literal_eval can raise.
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return key, value


def _json(flag: str, text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{flag} {text}: no JSON: {error}") from error
    return given
