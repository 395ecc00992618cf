"""Upstream's verification callback on the recipe's specs: HR and LR images, with and without FaceBN, in its log format."""

import torch

from aird_plugin.training.validation import ValidationSpec, evaluate_one, renew_evaluators, write_rows
from aird_plugin.utils import distributed


class EmbeddingNorm:
    """Mean norm of the student's raw embeddings (upstream's XNorm) over the distinct images that a spec embeds."""

    def __init__(self, student: torch.nn.Module, stack):
        self.total = self.count = 0
        self.last = float("nan")
        stack.callback(student.register_forward_hook(self._note).remove)

    def _note(self, student, inputs, embeddings_BD) -> None:
        if not student.training:
            self.total += embeddings_BD.detach().norm(dim=1).sum().item()
            self.count += len(embeddings_BD)

    def take(self) -> float:
        """The mean since the last call; the previous value if every embedding came from the cache."""
        if self.count:
            self.last = self.total / self.count
        self.total = self.count = 0
        return self.last


def callback(original, run):
    """Replaces CallBackVerification: upstream's loop over data sets and its log lines, with our specs as the data sets."""
    setup = run.setup

    class EvalSpecCallback(original):
        """Keeps the rows of the last verification in `rows`, and its step in `step`."""

        def __init__(self, *args, **options) -> None:
            self.rows: list[dict] = []
            self.step = 0
            run.verification = self
            super().__init__(*args, **options)

        def init_dataset(self, val_targets, data_dir, image_size):
            self.ver_list = list(run.eval_specs)
            self.ver_name_list = [spec.name for spec in run.eval_specs]

        def __call__(self, num_update, backbone):
            renew_evaluators(setup)
            self.rows, self.step = [], num_update
            with run.metrics.paused():
                super().__call__(num_update, backbone)

    return EvalSpecCallback


def test(original, run):
    """Replaces verification.test: specs go to the project's own evaluation, anything else to upstream's."""
    norms = EmbeddingNorm(run.setup.student, run.stack)

    def evaluate_or_test(data_set, backbone, batch_size, nfolds=10):
        if not isinstance(data_set, ValidationSpec):
            return original(data_set, backbone, batch_size, nfolds)
        row = evaluate_one(run.setup, data_set, run.eval_specs)
        run.verification.rows.append(row)
        return 0.0, 0.0, row["accuracy"] / 100, row["accuracy_std"] / 100, norms.take(), []

    return evaluate_or_test


def final_verification(run, backbone) -> None:
    """Verify the finished student unless upstream just did; the rows go into evaluation.json."""
    setup, verify = run.setup, run.verification
    last = setup.total_steps * run.accumulate
    if run.eval_specs and distributed.rank() == 0:
        if verify.step != last:
            verify(last, backbone)
        write_rows(setup, verify.rows)
    distributed.wait_for_rank0()
