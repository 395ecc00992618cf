"""Closed-set accuracy with a refitted last layer: UCCS-180 (VLRR, arXiv 1601.04153; AIRD, Table IV).

180 people at random, 3,918 faces to fit a linear softmax classifier on frozen embeddings, 907 to test. Which people was never
published, so one draw is no result: the mean and spread over several are. N = faces, D = embedding width, C = people.
"""

import numpy as np
import torch
from torch.nn.functional import cross_entropy

PEOPLE = 180
TEST_SHARE = 907 / (3918 + 907)
# Unit vectors need long weights: cosines times 16, as IID's scale. The penalty makes the optimum one.
SCALE = 16.0
PENALTY = 1e-4


def refit_accuracies(embeddings_ND: np.ndarray, who_N: np.ndarray, draws: int = 5, people: int = PEOPLE) -> list[float]:
    """Top-1 accuracy in per cent of each draw: people, then their test faces, by the seeds 0 to `draws` - 1.

    embeddings_ND: L2-normalised. Of each person drawn 18.8% of the faces are tested, at least one, and at least one is
    fitted. Raises ValueError where fewer than `people` people have two faces.
    """
    names, counts = np.unique(who_N, return_counts=True)
    eligible = names[counts > 1]
    if len(eligible) < people:
        raise ValueError(f"a draw takes {people} people with two faces or more; there are {len(eligible)}")
    accuracies = []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        drawn = rng.choice(eligible, people, replace=False)
        rows = [rng.permutation(np.flatnonzero(who_N == person)) for person in drawn]
        cuts = [int(np.clip(round(len(own) * TEST_SHARE), 1, len(own) - 1)) for own in rows]
        test = [own[:cut] for own, cut in zip(rows, cuts, strict=True)]
        fit = [own[cut:] for own, cut in zip(rows, cuts, strict=True)]
        accuracies.append(_accuracy(embeddings_ND, fit, test))
    return accuracies


def _accuracy(embeddings_ND, fit_C: list[np.ndarray], test_C: list[np.ndarray]) -> float:
    """Fit on the rows of each person in `fit_C`, test on those in `test_C`; per cent."""
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


def _tensors(embeddings_ND, rows_C) -> tuple[torch.Tensor, torch.Tensor]:
    who_N = np.repeat(np.arange(len(rows_C)), [len(rows) for rows in rows_C])
    return torch.from_numpy(np.float32(embeddings_ND[np.concatenate(rows_C)])), torch.from_numpy(who_N)
