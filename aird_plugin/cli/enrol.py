"""`aird enrol`: photos -> a gallery. Heavy imports are inside the functions."""

import argparse
from pathlib import Path

from aird_plugin.cli.model_arguments import add_model_arguments, describe, open_analysis

EPILOG = """\
FOLDER/IDENTITY/photo.jpg or FOLDER/IDENTITY.jpg: of each photo the large and central face is enrolled, and an identity's faces
are pooled into one template. If GALLERY exists, the identities are added to it; several processes may do so at once. A template
is a vector from which the network recognises a person: treat the file as biometric data. Nothing leaves this machine. Needs
`pip install aird_plugin[insightface]`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `aird enrol`."""
    parser.epilog, add = EPILOG, parser.add_argument
    add("folder", metavar="FOLDER", help="photos of each identity")
    add("--out", metavar="GALLERY", required=True, help="gallery file, .npz; created, or extended if it exists")
    add_model_arguments(parser)
    add("--aligned", action="store_true", help="the images are aligned crops: no detector runs")
    add("--replace", action="store_true", help="replace identities that are enrolled already. default: an error")
    add("--export", metavar="FILE", help="also write ids and float32 vectors of the whole gallery to this .npz")


def run(args: argparse.Namespace) -> int:
    """Enrol the identities of a folder of photos in a gallery, for `aird recognise`.

    Raises ValueError, OSError or ImportError, and then the gallery stays as it was. What can be checked is checked before any
    photo is read.
    """
    from aird_plugin.recognition.gallery import Gallery
    from aird_plugin.utils.counts import counted_identities

    out = Path(args.out)
    check_places(out, args.export)
    analysis = open_analysis(args, detect=not args.aligned)
    print(describe(analysis))
    present = Gallery.load(out, analysis).names if out.exists() else []
    new = Gallery.enrol(args.folder, analysis, args.aligned, taken=() if args.replace else frozenset(present))
    whole = new.add_to(out, args.replace)
    print(f"{out}: {counted_identities(len(new))} enrolled, {len(whole):,} in all")
    if args.export:
        whole.export(args.export)
        print(f"{args.export}: ids and vectors of {counted_identities(len(whole))}, {analysis.dim}-d float32, L2-normalised")
    return 0


def check_places(out: Path, export: str | None) -> None:
    """Raise ValueError where the gallery or its vectors cannot be written, or would overwrite each other or another file."""
    from aird_plugin.recognition.gallery_file import check_vectors_file
    from aird_plugin.utils.files import check_writable

    files = [out, *([Path(export)] if export else [])]
    for file in files:
        if file.suffix != ".npz":
            raise ValueError(f"{file}: a gallery and its vectors are .npz files")
        check_writable(file.resolve())
    if len({file.resolve() for file in files}) < len(files):
        raise ValueError(f"--out and --export name the same file, {out}; the vectors would overwrite the gallery")
    for file in files[1:]:
        check_vectors_file(file)
