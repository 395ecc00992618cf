"""Runs and pairs -> the material of a report. Everything is computed here and now; nothing is kept on disk.

N = pairs, 2N = their faces, D = embedding width.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from aird_plugin.data.degrade import named
from aird_plugin.data.lowres import FACE_SIDE, check_px
from aird_plugin.evaluation.protocol import PROTOCOLS, Session, check_question, input_side
from aird_plugin.evaluation.seen import SeenFaces
from aird_plugin.evaluation.verification import error_rates
from aird_plugin.models.facebn import KEEP
from aird_plugin.models.load import load_model, load_teacher
from aird_plugin.report.hard import hard_pairs
from aird_plugin.report.material import TEACHER_NAME, Answer, Focus, Material, Scores
from aird_plugin.report.norms import measure_norms
from aird_plugin.report.people import people_map, shown_people
from aird_plugin.report.runs import Run, group, read_run

BATCH = 96


@dataclass(frozen=True)
class Questions:
    """What is asked of every run. pairs: .bin files; px: sides of low faces, () for those the runs were trained at."""

    pairs: tuple[str, ...] = ()
    px: tuple[int, ...] = ()
    teacher: str | None = None
    high_side: str | None = None
    degradation: str = "bicubic"
    faces: bool = True


@dataclass(frozen=True)
class Entrant:
    """A network that answers: a run's student or the teacher."""

    name: str
    seed: int | None
    model: str
    network: object
    protocols: tuple[str, ...]
    first: bool


def gather(folders: list[str], questions: Questions, command: str, device: str) -> Material:
    """Read the runs, ask their students (and the teacher) the questions, and take apart what only embeddings can show.

    Without pairs the answers are those of the runs' own evaluation.json. Raises FileNotFoundError or ValueError, before any face
    is embedded, for folders that are no runs, files that are not there and questions without an answer.
    """
    methods = group([read_run(folder) for folder in folders])
    notes: list[str] = []
    if not questions.pairs:
        return Material(methods, list(_recorded(methods)), None, command, notes)
    sides = questions.px or sorted({check_px(run.facts.get("px")) for method in methods for run in method.runs})
    sides = tuple(map(check_px, sides))
    named(questions.degradation)
    teacher = load_teacher(questions.teacher, device=device) if questions.teacher else None
    entrants = list(_entrants(methods, teacher, questions, device, notes))
    if not entrants:
        raise ValueError("no run given has a model.pt yet, so there is nothing to ask the pairs; leave --pairs out")
    answers, focus = [], None
    for pairs_file in questions.pairs:
        session = Session(None, pairs_file, teacher, BATCH, device)
        told, embeddings = _answer(session, entrants, sides, questions)
        answers += told
        focus = focus or _focus(session, entrants, embeddings, sides[0], questions)
        if focus.pairs == session.pairs_file:
            answers += _adapted(session, entrants, sides[0], questions)
    return Material(methods, answers, focus, command, notes)


def _recorded(methods):
    for method in methods:
        for run in method.runs:
            for row in run.rows:
                yield Answer(method.name, run.seed, run.folder, run.recipe.get("teacher"), row)


def _entrants(methods, teacher, questions: Questions, device, notes):
    """The teacher first, whose embeddings of sharp faces the students' questions need too. `notes` grows by what is left out."""
    without_high: dict[str, list[str]] = {}
    if teacher is not None:
        yield Entrant(TEACHER_NAME, None, questions.teacher, teacher, PROTOCOLS, True)
    for method in methods:
        ready = [run for run in method.runs if run.finished]
        rest = [run.name for run in method.runs if not run.finished]
        notes += [f"{name} has no model.pt: it is not finished, and only its curves are drawn." for name in rest]
        for run in ready:
            student = load_model(run.folder, device=device)
            why_not = _no_high_side(run, student, teacher, questions.high_side)
            if why_not:
                without_high.setdefault(why_not, []).append(run.name)
            yield Entrant(method.name, run.seed, run.folder, student, PROTOCOLS[:1] if why_not else PROTOCOLS, run is ready[0])
    notes += [f"No LR-HR of {', '.join(names)}. {why_not}" for why_not, names in without_high.items()]


def _no_high_side(run: Run, student, teacher, high_side: str | None) -> str:
    """Why nobody can embed sharp faces in this student's coordinates; "" where somebody can."""
    by_teacher = high_side == "teacher" or (high_side is None and input_side(student) != FACE_SIDE)
    if not by_teacher:
        return ""
    if teacher is None:
        return "Sharp faces need the teacher here: give --teacher."
    taught = run.facts.get("teacher")
    if run.recipe.get("head_init") != "teacher" or not isinstance(taught, dict):
        return "Trained without the teacher's coordinates, in which the sharp side would be embedded."
    if taught.get("sha256") != teacher.describe()["sha256"]:
        return f"Taught by another teacher ({taught.get('file')}) than the one given."
    return ""


def _answer(session, entrants, sides, questions: Questions) -> tuple[list[Answer], dict[str, np.ndarray]]:
    """Answers of every entrant, and LR-LR embeddings (2N, D) at the first px of the first of each method."""
    answers, embeddings = [], {}
    for entrant in entrants:
        own = session.with_student(entrant.network)
        for px, protocol in itertools.product(sides, entrant.protocols):
            options = _options(entrant, protocol, questions)
            row = own.evaluate(px, protocol, **options)
            e_2ND = own.embeddings(px, protocol, **options)
            scores = _scores(e_2ND, session.same_N) if px == sides[0] else None
            answers.append(_told(entrant, row, questions, scores))
            if entrant.first and (px, protocol) == (sides[0], "lr-lr"):
                embeddings[entrant.name] = e_2ND
        if entrant.name == TEACHER_NAME:
            session = own
    return answers, embeddings


def _options(entrant: Entrant, protocol: str, questions: Questions) -> dict:
    """The teacher stands on the high side of its own LR-HR; its sharp embeddings then serve everybody."""
    high_side = "teacher" if entrant.name == TEACHER_NAME else questions.high_side
    return {"high_side": high_side if protocol == "lr-hr" else None, "degradation": questions.degradation}


def _told(entrant: Entrant, row: dict, questions: Questions, scores=None) -> Answer:
    return Answer(entrant.name, entrant.seed, entrant.model, questions.teacher, row, scores)


def _scores(e_2ND: np.ndarray, same_N: np.ndarray) -> Scores:
    return Scores((e_2ND[0::2] * e_2ND[1::2]).sum(axis=1), same_N, *error_rates(e_2ND, same_N))


def _focus(session, entrants, embeddings, px, questions: Questions) -> Focus:
    """Maps, BatchNorm statistics and hard pairs of the first px."""
    face_M, person_M = shown_people(session.face_2N, session.same_N)
    people = len(np.unique(person_M))
    maps = [people_map(name, e_2ND[face_M], person_M) for name, e_2ND in embeddings.items()] if people > 1 else []
    norms = []
    for entrant in _with_batchnorm(entrants):
        faces_2NSSC = SeenFaces(session.faces_UHWC, session.face_2N, px, input_side(entrant.network), questions.degradation)
        norms.append(measure_norms(entrant.name, entrant.network, faces_2NSSC, KEEP["full"], BATCH, session.device))
    cosines = {n: (e[0::2] * e[1::2]).sum(axis=1) for n, e in embeddings.items()}
    students = {name: cosine_N for name, cosine_N in cosines.items() if name != TEACHER_NAME}
    faces = SeenFaces(session.faces_UHWC, session.face_2N)
    hard = hard_pairs(students, session.same_N, faces, px, questions.degradation) if questions.faces else []
    return Focus(session.pairs_file, px, people, maps, norms, hard)


def _adapted(session, entrants, px, questions: Questions):
    """LR-LR with FaceBN, and with the embeddings centred: the control without which FaceBN gets undue credit."""
    for entrant in _with_batchnorm(entrants):
        own = session.with_student(entrant.network)
        for options in ({"facebn": "full", "keep": KEEP["full"], "order": 0}, {"centre": True}):
            yield _told(entrant, own.evaluate(px, "lr-lr", degradation=questions.degradation, **options), questions)


def _with_batchnorm(entrants):
    """The first student of each method, where it has BatchNorm to adapt."""
    for entrant in entrants:
        if entrant.first and entrant.name != TEACHER_NAME:
            try:
                check_question(entrant.network, None, "lr-lr", facebn="full", keep=KEEP["full"])
            except ValueError:
                continue
            yield entrant
