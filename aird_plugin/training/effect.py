"""Checks, before any work, for runs that would train nothing, or less than their recipe states."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.sampler import whole_batches
from aird_plugin.diagnostics.diagnostic import Diagnostic
from aird_plugin.losses.term import Needs
from aird_plugin.training.objective import used_terms
from aird_plugin.utils import distributed


def check_effect(recipe: Recipe, num_images: int) -> None:
    """Raise ValueError where nothing has a weight in the loss, or where the images of an epoch do not make one batch or one step,
    and what `check_mixup` raises."""
    check_mixup(recipe)
    if not recipe.run.identity_weight and not used_terms(recipe.terms):
        raise ValueError(
            "identity_weight=0 and no term with a weight above 0: the loss would be 0 and the student stay untrained; set "
            "identity_weight=1.0, or name a term, such as terms={'align': 'aird_plugin.losses.cosine:CosineRegression'}"
        )
    schedule, ranks = recipe.schedule, distributed.world_size()
    batches = whole_batches(num_images, schedule.batch_size, ranks)
    if batches < schedule.gradient_acc:
        raise ValueError(
            f"gradient_acc={schedule.gradient_acc} batches make one step, but an epoch has only {batches} "
            f"({num_images:,} images, batch_size={schedule.batch_size}, {ranks} rank(s)): the run would end without a step; "
            f"set gradient_acc to {batches} or less, or a smaller batch_size"
        )


def check_mixup(recipe: Recipe) -> None:
    """Raise ValueError for mixup with the bank, or with a loss that takes a mixed image for one of an identity or a row."""
    if not recipe.data.mixup:
        return
    if not recipe.bank.online:
        raise ValueError("mixup needs the teacher's output on each mixture, which no bank holds: set online=True")
    takers = [name for name, spec in used_terms(recipe.terms).items() if takes_identities(spec)]
    takers += ["identity_weight"] if recipe.run.identity_weight else []
    takers += ["centers='adaptive'"] if recipe.head.centers == "adaptive" else []
    if takers:
        raise ValueError(
            f"mixup: a mixed image has no identity, and is no single image of the training set, which {', '.join(takers)} needs; "
            "set identity_weight=0 and use terms such as aird_plugin.losses.cosine:CosineRegression, or IID with iid_variant='kl'"
        )


def takes_identities(spec: Any) -> bool:
    """Whether a term uses an image's label, row or prior features. IID as plain KL compares distributions and uses none."""
    plain_kl = getattr(spec, "variant", None) == "kl" and not getattr(spec, "leave_one_out", False)
    own = {Needs.NEIGHBOURS, Needs.LABELS, Needs.ROWS, Needs.ADAPTED, Needs.GENERATIVE}
    return bool(set(spec.needs) & (own if plain_kl else own | {Needs.TEACHER_COSINE}))


def check_remainder(recipe: Recipe, num_images: int) -> Iterator[Diagnostic]:
    """A warning where the steps of an epoch take less than three quarters of its batches."""
    schedule = recipe.schedule
    batches = num_images // (schedule.batch_size * distributed.world_size())
    left = batches % schedule.gradient_acc
    if left > batches / 4:
        times = schedule.num_epoch * (batches - left) / batches
        yield Diagnostic(
            "warning",
            f"gradient_acc={schedule.gradient_acc}: the steps of an epoch take {batches - left} of its {batches} batches, so "
            f"that num_epoch={schedule.num_epoch} trains {times:.1f} times on each image",
            f"set gradient_acc to a divisor of {batches}, or a larger num_epoch",
        )


def check_single_image(recipe: Recipe, student: nn.Module) -> None:
    """Raise ValueError where a step holds one image and a BatchNorm of the student cannot measure statistics on it."""
    if recipe.schedule.batch_size > 1 or recipe.sizes.also_px:
        return
    trial = copy.deepcopy(student).train()
    try:
        with torch.no_grad():
            trial(torch.zeros(1, 3, student.input_size, student.input_size))
    except ValueError as error:
        raise ValueError(
            f"batch_size=1: the BatchNorms of network={recipe.student.network} measure their statistics on the batch, for which "
            "one image is not enough; set batch_size=2 or more (it is per rank)"
        ) from error
