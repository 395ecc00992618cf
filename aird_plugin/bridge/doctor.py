"""What `aird doctor` says of an arcface_torch checkout. Nothing of the checkout is run."""

import torch

from aird_plugin.bridge import checkout, seams
from aird_plugin.bridge.host import check_imports
from aird_plugin.bridge.mends import Surroundings, installed
from aird_plugin.inspection.finding import Finding


def about_checkout(directory: str):
    """The folder, each seam, each mend, and the packages that upstream may use."""
    try:
        folder = checkout.find(directory, seams.ENTRY)
    except ValueError as error:
        yield Finding("fault", "arcface_torch", str(error))
        return
    yield Finding("ok", f"arcface_torch in {folder}, commit {checkout.commit(folder) or 'unknown (no git history here)'}")
    gone = seams.missing(folder)
    for seam in seams.SEAMS:
        name = f"seam {seam.module}.{seam.name}"
        if seam in gone:
            yield Finding("fault", f"{name} is missing", f"check out one of {seams.KNOWN} of deepinsight/insightface")
        else:
            yield Finding("ok", f"{name} ({seam.why})")
    yield from about_packages(folder)
    around = Surroundings(cpu=not torch.cuda.is_available())
    for mend in seams.MENDS:
        yield about_mend(mend, around)


def about_packages(folder):
    """mxnet, DALI, torchvision, and what upstream's evaluation imports."""
    if installed("mxnet"):
        yield Finding("note", "mxnet is installed", "our reader is used all the same; keep_mxnet=True keeps mxnet's")
    else:
        yield Finding("ok", "no mxnet, and none is needed: our reader answers behind its names")
    if installed("torchvision"):
        yield Finding("ok", "torchvision is installed")
    else:
        yield Finding("note", "no torchvision", "only reader='upstream' from a folder of images needs it")
    if installed("nvidia") and installed("nvidia.dali"):
        yield Finding("ok", "DALI is installed: reader='upstream' with upstream={'dali': True} uses it")
    else:
        yield Finding("note", "no DALI", "only upstream={'dali': True} needs it; the bank decodes no images in training")
    try:
        check_imports(folder)
        yield Finding("ok", "scikit-learn and scipy are installed")
    except ImportError as error:
        yield Finding("fault", "packages", str(error))


def about_mend(mend: seams.Mend, around: Surroundings) -> Finding:
    """Whether a run on this machine would apply it, and why."""
    name = f"{mend.module}.{mend.name}".rstrip(".")
    return Finding("ok", f"mend of {name} " + (f"will be applied ({mend.why})" if mend.needed(around) else "is not needed here"))
