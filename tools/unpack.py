"""Write the images of record files or pairs as files.

A training set (.rec, folder with train.rec, shards): OUT/LABEL/KEY.jpg; `tools/make_rec.py OUT NEW` packs them again, with the
same bytes and labels:
    python tools/unpack.py train.rec OUT
A verification file: OUT/IMAGE.jpg, each distinct image once, and OUT/pairs.txt, which `tools/make_bin.py OUT/pairs.txt NEW.bin
--root OUT` packs again:
    python tools/unpack.py lfw.bin OUT
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

from aird_plugin.data.images import SIGNATURES
from aird_plugin.data.pairs import first_indices, read_pairs
from aird_plugin.data.records import open_records
from aird_plugin.utils.counts import counted, counted_identities
from aird_plugin.utils.files import naming, write_atomically
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.progress import progress

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png"}
# First bytes of the other formats that data sets hold.
OTHERS = {b"BM": ".bmp", b"RIFF": ".webp", b"GIF8": ".gif", b"II*\0": ".tif", b"MM\0*": ".tif"}


def main(argv: list[str] | None = None) -> int:
    """Run with the arguments of the command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE", help="a .bin, a .rec, or a folder with record files")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write; must not exist or be empty")
    args = expand_arguments(parser.parse_args(argv))
    try:
        if args.out.is_dir() and any(args.out.iterdir()):
            raise ValueError(f"{args.out} is not empty; give another folder")
        print(unpack_pairs(args.source, args.out) if args.source.endswith(".bin") else unpack_records(args.source, args.out))
    except (ValueError, OSError) as error:
        if os.environ.get("AIRD_DEBUG") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def unpack_records(source: str, out: Path) -> str:
    """Write every image as OUT/LABEL/KEY; names are padded, so that their order is that of labels and keys. Returns a summary."""
    records = open_records(source)
    if not records.num_classes:
        raise ValueError(f"{source} has no labels; it is a folder of images already")
    wide, deep = len(str(records.num_classes - 1)), len(str(len(records)))
    for row in progress(range(len(records)), len(records), "unpacking", "images"):
        payload = records.payload(row)
        folder = out / f"{int(records.labels[row]):0{wide}d}"
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / f"{row + 1:0{deep}d}{suffix_of(payload)}", payload)
    return f"{out}: {counted(len(records), 'image')} of {counted_identities(len(set(records.labels.tolist())))}"


def unpack_pairs(source: str, out: Path) -> str:
    """Write each distinct image once, numbered by its first place, and the list of pairs. Returns a summary."""
    pairs = read_pairs(source)
    face_2N = first_indices(pairs.images)
    deep = len(str(len(face_2N)))
    names = {}
    out.mkdir(parents=True, exist_ok=True)
    for place in progress(sorted(set(face_2N.tolist())), None, "unpacking", "images"):
        payload = bytes(pairs.images[place])
        names[place] = f"{place:0{deep}d}{suffix_of(payload)}"
        write(out / names[place], payload)
    lines = [
        f"{names[first]} {names[second]} {int(same)}\n"
        for first, second, same in zip(face_2N[0::2].tolist(), face_2N[1::2].tolist(), pairs.same, strict=True)
    ]
    write_atomically(out / "pairs.txt", "".join(lines).encode())
    return f"{out}: {len(names)} images and pairs.txt with {len(lines)} pairs"


def write(file: Path, payload: bytes) -> None:
    """Write one of many files, without waiting for the disk."""
    with naming(file):
        file.write_bytes(payload)


def suffix_of(payload: bytes) -> str:
    """The suffix of an image file, by its first bytes; .img for an unknown format."""
    known = {SIGNATURES[kind]: suffix for kind, suffix in SUFFIXES.items()} | OTHERS
    return next((suffix for start, suffix in known.items() if payload.startswith(start)), ".img")


if __name__ == "__main__":
    sys.exit(main())
