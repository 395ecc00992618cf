"""The result of one check."""

from dataclasses import dataclass

from aird_plugin.utils.warning import PREFIX

MARKS = {"ok": "ok     ", "note": "note   ", "warning": PREFIX, "error": "ERROR  "}


@dataclass(frozen=True)
class Diagnostic:
    """One line. status: "ok", "note" (optional), "warning" (a run works, but may be worthless) or "error" (a run fails)."""

    status: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{MARKS[self.status]} {self.what}" + (f": {self.remedy}" if self.remedy else "")
