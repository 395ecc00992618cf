"""Runs without labels: what of a recipe has no effect there, and which recipes cannot do without them."""

from dataclasses import replace
from typing import Any

from aird_plugin.config.recipe import Recipe
from aird_plugin.losses.term import Needs
from aird_plugin.models.head import HeadConfig
from aird_plugin.training.objective import used_terms

# A need that only labelled data meet -> the closest term that works without labels.
INSTEAD = {
    Needs.TEACHER_COSINE: "aird_plugin.losses.anchor_kl:AnchorKL",
    Needs.NEIGHBOURS: "aird_plugin.losses.rkd:RKD",
    Needs.ADAPTED: "aird_plugin.losses.cosine:CosineRegression",
    Needs.LABELS: "aird_plugin.losses.cosine:CosineRegression",
}


def without_labels(recipe: Recipe) -> Recipe:
    """The recipe as a run without labels takes it: labels=False, and no keys of class centers or margin, which are not there.

    head_init is "teacher" where a term compares embeddings with the teacher's: it also states, in recipe.json, that the student
    shares the teacher's embedding space, so that the teacher may embed the HR images of LR-HR.
    """
    shares_space = any(Needs.TEACHER_WIDTH in spec.needs for spec in used_terms(recipe.terms).values())
    head = HeadConfig(head_init="teacher" if shares_space else "random")
    return replace(recipe, data=replace(recipe.data, labels=False), head=head, margin=None)


def check_unlabelled(recipe: Recipe) -> None:
    """Raises ValueError where the recipe of a run without labels has an identity loss, a key or term that needs them, or no
    term. A labelled run passes."""
    if recipe.data.labels:
        return
    why = f"rec={recipe.data.rec} has no labels, or labels=False"
    if recipe.run.identity_weight:
        raise ValueError(f"{why}: there is no identity loss; set identity_weight=0")
    if recipe.sizes.faces_per_person > 1:
        raise ValueError(f"{why}: faces_per_person={recipe.sizes.faces_per_person} needs them; set faces_per_person=1")
    refused = {name: term_instead(spec) for name, spec in used_terms(recipe.terms).items() if set(spec.needs) & set(INSTEAD)}
    if refused:
        instead = ", ".join(f"{term} in the place of {name}" for name, term in refused.items())
        raise ValueError(f"{why}, but {', '.join(refused)} cannot do without them; use {instead}, or set the weight to 0")
    if not used_terms(recipe.terms):
        raise ValueError(f"{why}: a run needs a term, such as terms={{'align': 'aird_plugin.losses.cosine:CosineRegression'}}")


def term_instead(spec: Any) -> str:
    """The term that replaces one which needs labels."""
    return next(term for need, term in INSTEAD.items() if need in spec.needs)
