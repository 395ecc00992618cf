"""People and their faces, as the labels tell them.

N = faces, C = people.
"""

from collections.abc import Iterator

import numpy as np

from aird_plugin.inspection.finding import Finding


def about_people(person_N: np.ndarray, num_classes: int) -> Iterator[Finding]:
    """Gaps in the numbering, people with one face, one person with most of the faces."""
    count_C = np.bincount(person_N, minlength=num_classes)
    nobody = np.flatnonzero(count_C == 0)
    if len(nobody):
        yield Finding(
            "doubt",
            f"{len(nobody)} of {num_classes} people have no face (the first is number {nobody[0]})",
            "every face pushes their class centres away and none pulls; number people 0, 1, 2 ... as tools/make_rec.py does",
        )
    lone, people = int((count_C == 1).sum()), int((count_C > 0).sum())
    if lone == people:
        yield Finding(
            "doubt",
            "nobody has two faces",
            "classes of one face teach to tell pictures, not people; is the label the picture's number?",
        )
    elif lone:
        yield Finding("note", f"{lone} of {people} people have one face", "RID relates them to another view of it, or skips them")
    if people == 1:
        yield Finding("doubt", "all faces are one person's", "nothing can be learnt from telling them apart")
