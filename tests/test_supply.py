"""constraints-hashed.txt: what an install of the wheel takes, to the byte."""

import re
import runpy
from importlib import metadata
from pathlib import Path
from unittest import mock

from tests.skips import needs

ROOT = Path(__file__).parents[1]
HASHED = (ROOT / "constraints-hashed.txt").read_text()
# For the tests alone, and for a comparison with packages that ship no wheels: building those runs what nothing hashes.
NOT_RUN_TIME = ("dev", "ijb")


def plain(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries() -> dict[str, tuple[str, list[str]]]:
    """{name: (version, hashes)}."""
    blocks = re.split(r"\n(?=\S)", "\n".join(line for line in HASHED.splitlines() if not line.startswith("#")))
    found = [(re.match(r"([\w.-]+)==(\S+)", block), re.findall(r"--hash=sha256:([0-9a-f]{64})\b", block)) for block in blocks]
    return {plain(pin[1]): (pin[2], hashes) for pin, hashes in found}


def test_every_package_has_hashes_and_every_hash_a_package():
    found = entries()
    assert len(found) > 50 and all(hashes for _, hashes in found.values())
    assert sum(len(hashes) for _, hashes in found.values()) == HASHED.count("--hash=")
    assert len(found) == len(re.findall(r"^[\w.-]+==", HASHED, re.M))


def test_it_names_no_host_and_no_place():
    assert not re.search(r"://|--(index|extra|find|trusted)|(^|\s)/|@", HASHED)


def test_versions_are_those_of_the_constraints():
    found = entries()
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    for name, version in pins.items():
        if name not in ("pytest", "pytest-xdist", "execnet", "ruff"):
            assert found[plain(name)][0] == version, f"{name}: make lock"


def test_whatever_the_package_needs_is_there():
    """From setup.py on, through what the packages that are installed here say they need."""
    needs("setuptools")
    requirements = needs("packaging.requirements")
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    asked = setup.call_args.kwargs
    extras = [needs for name, needs in asked["extras_require"].items() if name not in NOT_RUN_TIME]
    waiting, seen = [requirements.Requirement(word) for word in sum(extras, asked["install_requires"])], set()
    found = entries()
    while waiting:
        need = waiting.pop()
        name = plain(need.name)
        if name in seen or (need.marker and not need.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        assert name in found, f"{name} is missing: make lock"
        assert need.specifier.contains(found[name][0], prereleases=True), f"{need}, but {found[name][0]} is listed"
        try:
            waiting += map(requirements.Requirement, metadata.requires(need.name) or [])
        except metadata.PackageNotFoundError:
            continue
    assert len(seen) > 15 and {"torch", "onnxruntime", "insightface", "scikit-learn", "diffusers"} <= seen
