"""Closed-set accuracy of a linear probe on frozen embeddings: UCCS-180 (VLRR, arXiv 1601.04153; AIRD, Table IV).

180 random identities, a linear softmax classifier fitted on 3,918 frozen embeddings and tested on 907. The publication does not
list the identities, so a single draw is no result: the figure is the mean and spread over several. N = images, D = embedding
width, C = identities.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from aird_plugin.data.degradation import get_degradation
from aird_plugin.data.identification import ImageFile, fingerprint
from aird_plugin.data.image_files import LOOSE, UNREADABLE, Accounting, find_identities
from aird_plugin.data.readable_images import are_readable
from aird_plugin.evaluation.eval_spec import EvalSpec
from aird_plugin.evaluation.gallery_evaluator import UNREADABLE_KEY, check_downsampling, image_sums
from aird_plugin.utils.vectors import normalise

DRAWS = 5
IDENTITIES = 180
TEST_SHARE = 907 / (3918 + 907)
# Unit vectors need long weights: cosines are scaled by 16, as in IID. The penalty makes the optimum unique.
SCALE = 16.0
PENALTY = 1e-4


def evaluate_linear_probe(
    student, data: str, specs: list[EvalSpec], batch: int = 96, device="cpu"
) -> tuple[list[dict], Accounting]:
    """A row of figures for each spec, on a folder with one subfolder per identity, and what of the folder was left out.

    Unreadable images are left out. Raises what `linear_probe_accuracies` and `image_sums` raise.
    """
    identities, loose, accounting = find_identities(data)
    accounting.leave_out(LOOSE, *(file.name for file in loose))
    images = [ImageFile(str(file)) for _, files in identities for file in files]
    label_N = np.repeat(np.arange(len(identities)), [len(files) for _, files in identities])
    readable_N = are_readable(images)
    accounting.leave_out(UNREADABLE, *(Path(images[row].where).relative_to(data) for row in np.flatnonzero(~readable_N)))
    images, label_N = [images[row] for row in np.flatnonzero(readable_N)], label_N[readable_N]
    accounting.taken = len(images)
    setting = {"data": data, "data_sha256": fingerprint(images, label_N), "layout": "uccs"}
    unreadable = {} if readable_N.all() else {UNREADABLE_KEY: int((~readable_N).sum())}
    rows = []
    for spec in specs:
        downsampling = check_downsampling(spec.px, spec.degradation)
        sums_ND = image_sums(student, images, downsampling, spec.adaptation, batch, device, "student")
        draws = linear_probe_accuracies(normalise(sums_ND), label_N, DRAWS)
        rows.append(setting | figures(spec, batch, label_N, draws) | unreadable)
    return rows, accounting


def figures(spec: EvalSpec, batch: int, label_N: np.ndarray, draws: list[float]) -> dict:
    """The part of a row that the evaluation decides. draws: accuracies in per cent."""
    return {
        "px": spec.px,
        "facebn": spec.facebn,
        "keep": None if spec.facebn is None else spec.keep,
        "include_bn1d": spec.include_bn1d,
        "order": spec.order,
        "batch": batch,
        "centre": spec.centre,
        "n_faces": len(label_N),
        "n_people": len(np.unique(label_N)),
        "accuracy": float(np.mean(draws)),
        "accuracy_std": float(np.std(draws, ddof=1)),
        "draws": draws,
        "degradation": None if spec.px is None else spec.degradation,
        "resize": get_degradation(spec.degradation).version,
    }


def linear_probe_accuracies(
    embeddings_ND: np.ndarray, label_N: np.ndarray, draws: int = DRAWS, identities: int = IDENTITIES
) -> list[float]:
    """Top-1 accuracy in per cent of each draw: the seeds 0 to `draws` - 1 draw the identities, then their test images.

    embeddings_ND: L2-normalised. 18.8% of each identity's images are tested, at least one, and at least one is fitted. Raises
    ValueError with fewer than `identities` identities of two images, and for embeddings that are not finite.
    """
    nonfinite = np.flatnonzero(~np.isfinite(embeddings_ND).all(1))
    if len(nonfinite):
        raise ValueError(f"the embedding of image {nonfinite[0]} is not finite, {len(nonfinite)} of {len(embeddings_ND)} in all")
    labels, counts = np.unique(label_N, return_counts=True)
    eligible = labels[counts > 1]
    if len(eligible) < identities:
        raise ValueError(f"a draw takes {identities} identities with two images or more; there are {len(eligible)}")
    accuracies = []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        drawn = rng.choice(eligible, identities, replace=False)
        rows = [rng.permutation(np.flatnonzero(label_N == label)) for label in drawn]
        cuts = [int(np.clip(round(len(own) * TEST_SHARE), 1, len(own) - 1)) for own in rows]
        test = [own[:cut] for own, cut in zip(rows, cuts, strict=True)]
        fit = [own[cut:] for own, cut in zip(rows, cuts, strict=True)]
        accuracies.append(_accuracy(embeddings_ND, fit, test))
    return accuracies


def _accuracy(embeddings_ND, fit_C: list[np.ndarray], test_C: list[np.ndarray]) -> float:
    """Fit on the rows of each identity in `fit_C`, test on those in `test_C`; per cent."""
    (fit_ND, fit_N), (test_ND, test_N) = (_tensors(embeddings_ND, rows_C) for rows_C in (fit_C, test_C))
    weight_CD = torch.zeros(len(fit_C), embeddings_ND.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weight_CD], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimiser.zero_grad()
        value = cross_entropy(SCALE * fit_ND @ weight_CD.T, fit_N) + PENALTY * weight_CD.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return 100 * float(((test_ND @ weight_CD.detach().T).argmax(1) == test_N).float().mean())


def _tensors(embeddings_ND, rows_C: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and labels 0..C-1 of the rows of each class."""
    label_N = np.repeat(np.arange(len(rows_C)), [len(rows) for rows in rows_C])
    return torch.from_numpy(np.float32(embeddings_ND[np.concatenate(rows_C)])), torch.from_numpy(label_N)
