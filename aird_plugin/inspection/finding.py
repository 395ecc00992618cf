"""One thing that was looked at, and what came of it."""

from dataclasses import dataclass

MARKS = {"ok": "ok   ", "note": "note ", "doubt": "DOUBT", "fault": "FAULT"}


@dataclass(frozen=True)
class Finding:
    """One line. status: "ok", "note" (works without it), "doubt" (runs, and may be worthless) or "fault" (a run would fail)."""

    status: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{MARKS[self.status]} {self.what}" + (f": {self.remedy}" if self.remedy else "")
