"""Networks beside a student whose graph subtracts its training mean: each subtracts its own, so that cosines mean something."""

import hashlib
from dataclasses import replace

import numpy as np

from aird_plugin.models.recorded import recorded_metadata
from aird_plugin.models.training_means import TrainingMeans, read_means
from aird_plugin.recognition.network import Network


def is_centered(network: Network) -> bool:
    """Whether the graph of a network subtracts its training mean."""
    return bool(recorded_metadata(network.model.path, network.model).get("training_centre"))


def centered(network: Network, mean_D: np.ndarray | None) -> Network:
    """The network with centered embeddings; mean_D: None where its graph subtracts it.

    Its identity is another one: galleries and thresholds of the same weights without centring, or with another mean, do not fit.
    """
    mark = "graph" if mean_D is None else hashlib.sha256(np.asarray(mean_D, np.float32).tobytes()).hexdigest()[:16]
    return replace(network, mean_D=mean_D, identity=f"{network.identity}+{mark}")


def center_all(students: list[Network], hr: Network | None) -> tuple[list[Network], Network | None]:
    """The students and the HR recogniser, all centered where the graph of one is; else as they are.

    Raises ValueError for a network whose mean is not in means.json beside its file or, for the HR recogniser, the students'.
    """
    first = next((student for student in students if is_centered(student)), None)
    if first is None:
        return students, hr
    means = {id(student): None if is_centered(student) else _own_mean(student, first) for student in students}
    hr_mean_D = _hr_mean([student for student in students if means[id(student)] is None], hr) if hr else None
    return [centered(student, means[id(student)]) for student in students], hr and centered(hr, hr_mean_D)


def center_hr(hr: Network, means: TrainingMeans) -> Network:
    """The HR recogniser, centered as its student's run has it. ValueError where the run has no mean of it."""
    return centered(hr, means.center("teacher", hr.model).mean_D)


def _own_mean(student: Network, other: Network) -> np.ndarray:
    """The mean beside a student's file, which its graph does not subtract."""
    try:
        mean_D = read_means(student.model.path, student.model).student_D
    except ValueError as error:
        raise ValueError(_half(other, student, str(error))) from error
    assert mean_D is not None, "it is None only where the graph subtracts it"
    return mean_D


def _hr_mean(students: list[Network], hr: Network) -> np.ndarray:
    """The mean of the HR recogniser beside the first student that has it."""
    problem = ""
    for student in students:
        try:
            return read_means(student.model.path, student.model).center("teacher", hr.model).mean_D
        except ValueError as error:
            problem = problem or _half(student, hr, str(error))
    raise ValueError(problem)


def _half(centered_one: Network, other: Network, why: str) -> str:
    return (
        f"{centered_one.model.path} subtracts its training mean in its graph, and {other.model.path} cannot be centered: {why}. "
        "Export the student without --training-centre, or leave one of the two out"
    )
