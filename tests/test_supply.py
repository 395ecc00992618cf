"""constraints-hashed.txt: the packages that an install of the wheel takes, pinned by hash."""

import re
import runpy
from importlib import metadata
from pathlib import Path
from unittest import mock

from tests.skips import needs

ROOT = Path(__file__).parents[1]
HASHED = (ROOT / "constraints-hashed.txt").read_text()
# For the tests alone, and for a comparison with packages that ship no wheels: building those runs code that no hash covers.
NOT_RUN_TIME = ("dev", "ijb")
# Packages of the tests and of `make lint`.
TEST_ONLY = ("execnet", "librt", "mypy", "mypy_extensions", "pathspec", "pytest", "pytest-xdist", "ruff")


def plain(name: str) -> str:
    """A package name, normalized as indexes compare it."""
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


def test_file_names_no_host_and_no_path():
    assert not re.search(r"://|--(index|extra|find|trusted)|(^|\s)/|@", HASHED)


def test_versions_match_the_constraints():
    found = entries()
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    for name, version in pins.items():
        if name not in TEST_ONLY:
            assert found[plain(name)][0] == version, f"{name}: make lock"


def test_every_requirement_is_listed():
    """From setup.py, through the requirements in the metadata of the installed packages."""
    needs("setuptools")
    requirements = needs("packaging.requirements")
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    arguments = setup.call_args.kwargs
    extras = [needs for name, needs in arguments["extras_require"].items() if name not in NOT_RUN_TIME]
    waiting, checked = [requirements.Requirement(word) for word in sum(extras, arguments["install_requires"])], set()
    found = entries()
    while waiting:
        need = waiting.pop()
        name = plain(need.name)
        if name in checked or (need.marker and not need.marker.evaluate({"extra": ""})):
            continue
        checked.add(name)
        assert name in found, f"{name} is missing: make lock"
        assert need.specifier.contains(found[name][0], prereleases=True), f"{need}, but {found[name][0]} is listed"
        try:
            waiting += map(requirements.Requirement, metadata.requires(need.name) or [])
        except metadata.PackageNotFoundError:
            continue
    assert len(checked) > 15 and {"torch", "onnxruntime", "insightface", "scikit-learn", "diffusers"} <= checked
