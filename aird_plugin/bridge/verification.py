"""Upstream's verification callback, asked our questions: sharp and low faces, with and without FaceBN, under its log format."""

import torch

from aird_plugin import distributed
from aird_plugin.evaluation.during import Question, answer, renew_sessions, write_rows


class Norms:
    """Mean length of the student's raw embeddings, upstream's XNorm, over the distinct faces that a question embeds."""

    def __init__(self, student: torch.nn.Module, stack):
        self.total = self.count = 0
        self.last = float("nan")
        stack.callback(student.register_forward_hook(self._note).remove)

    def _note(self, student, inputs, embeddings_BD) -> None:
        if not student.training:
            self.total += embeddings_BD.detach().norm(dim=1).sum().item()
            self.count += len(embeddings_BD)

    def take(self) -> float:
        """The mean since the last call; the last one again where every embedding was known already."""
        if self.count:
            self.last = self.total / self.count
        self.total = self.count = 0
        return self.last


def callback(original, hosted):
    """CallBackVerification: upstream's loop over data sets and its log lines; its data sets are our questions."""
    lesson = hosted.lesson

    class QuestionCallback(original):
        """Keeps the rows of the last verification in `rows`, and its step in `step`."""

        def __init__(self, *args, **options):
            self.rows: list[dict] = []
            self.step = 0
            hosted.verification = self
            super().__init__(*args, **options)

        def init_dataset(self, val_targets, data_dir, image_size):
            self.ver_list = list(hosted.questions)
            self.ver_name_list = [question.name for question in hosted.questions]

        def __call__(self, num_update, backbone):
            renew_sessions(lesson)
            self.rows, self.step = [], num_update
            super().__call__(num_update, backbone)

    return QuestionCallback


def test(original, hosted):
    """verification.test: a question is answered by the project's own evaluation; anything else goes to upstream's."""
    norms = Norms(hosted.lesson.student, hosted.stack)

    def answer_or_test(data_set, backbone, batch_size, nfolds=10):
        if not isinstance(data_set, Question):
            return original(data_set, backbone, batch_size, nfolds)
        row = answer(hosted.lesson, data_set)
        hosted.verification.rows.append(row)
        return 0.0, 0.0, row["accuracy"] / 100, row["accuracy_std"] / 100, norms.take(), []

    return answer_or_test


def last_verification(hosted, backbone) -> None:
    """Verify the finished student where upstream's rhythm did not just do so; the rows go into evaluation.json."""
    lesson, ask = hosted.lesson, hosted.verification
    last = lesson.total_steps * hosted.accumulate
    if hosted.questions and distributed.rank() == 0:
        if ask.step != last:
            ask(last, backbone)
        write_rows(lesson, ask.rows)
    distributed.wait_for_the_first()
