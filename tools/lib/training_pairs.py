"""The rows of bench_training.py: two trainings each, whose time per step is compared."""

from typing import NamedTuple

from tools.lib.ratios import AT_LEAST, AT_MOST

AIRD, BARE = "faces15k_small_lr16", "faces15k_small_lr16_scratch"
# Teacher network -> its embedding width and the number of images in its bank.
TEACHERS = {"native112_0.2m": (128, 15553), "r50": (512, 256)}

Side = tuple[str, list[str]]


class Pair(NamedTuple):
    """A row: (recipe, keys) over (recipe, keys), its target, and the keys of both. teacher: the teacher network of both."""

    what: str
    bound: str
    target: float
    over: Side
    under: Side
    both: list[str]
    teacher: str = "native112_0.2m"
    ranks: tuple[int, int] = (1, 1)


NATIVE = ["network=native16_1m", "batch_size=96"]
NATIVE_ONLINE = ["network=native16_1m", "batch_size=8"]
MFN = ["network=mfn", "batch_size=16"]
R18 = ["network=r18", "batch_size=8"]
R18_CUDA = ["network=r18", "batch_size=96", "bf16=True"]


def with_key(what: str, target: float, key: str, both: list[str]) -> Pair:
    """The row of AIRD with a key over AIRD without it."""
    return Pair(what, AT_MOST, target, (AIRD, [key]), (AIRD, []), both)


def online(what: str, target: float, both: list[str]) -> Pair:
    """The row of AIRD online over AIRD from the bank, with a large teacher."""
    return Pair(what, AT_LEAST, target, (AIRD, ["online=True"]), (AIRD, []), both, "r50")


CPU_ROWS = {
    "aird-native": Pair(
        "AIRD from the bank / bare student: native16_1m, batch 96, 64 negatives",
        AT_MOST,
        1.25,
        (AIRD, ["rid_negatives=64"]),
        (BARE, []),
        NATIVE,
    ),
    "aird-mfn": Pair(
        "AIRD from the bank / bare student: mfn, batch 16, 256 negatives",
        AT_MOST,
        1.10,
        (AIRD, ["rid_negatives=256"]),
        (BARE, []),
        MFN,
    ),
    "online-native": online("AIRD online / from the bank: native16_1m, batch 8, r50 teacher", 10, NATIVE_ONLINE),
    "online-r18": online("AIRD online / from the bank: r18, batch 8, r50 teacher", 1.4, R18),
    "ranks": Pair(
        "two ranks, one thread each / one rank, two threads: native16_1m, 96 images in all",
        AT_MOST,
        1.15,
        (AIRD, ["batch_size=48"]),
        (AIRD, ["batch_size=96"]),
        NATIVE[:1],
        ranks=(2, 1),
    ),
    "compile-native": with_key("compiled / not: native16_1m, batch 96", 1.0, "compile=True", NATIVE),
    "compile-mfn": with_key("compiled / not: mfn, batch 16", 1.0, "compile=True", MFN),
    "bf16-native": with_key("bf16 / float32: native16_1m, batch 96", 1.0, "bf16=True", NATIVE),
    "deterministic-native": with_key("deterministic / not: native16_1m, batch 96", 1.25, "deterministic=True", NATIVE),
    "bf16-mfn": with_key("bf16 / float32: mfn, batch 16", 1.0, "bf16=True", MFN),
}
CUDA_ROWS = {
    "aird-r18": Pair(
        "AIRD from the bank / bare student: r18, batch 96, bf16, 1,024 negatives",
        AT_MOST,
        1.20,
        (AIRD, ["rid_negatives=1024", "bank_hard=1024"]),
        (BARE, ["bank_hard=1024"]),
        R18_CUDA,
    ),
}


def pairs(device: str) -> dict[str, Pair]:
    """Every row of a device ("cpu" or "cuda") by its name on the command line."""
    return CPU_ROWS | (CUDA_ROWS if device == "cuda" else {})
