"""Terms that compare feature maps: the checks of the recipe, and the teacher that computes the maps."""

from torch import nn

from aird_plugin.config.recipe import Recipe
from aird_plugin.losses.term import Needs
from aird_plugin.models.teacher import Teacher
from aird_plugin.models.teacher_feature_maps import TeacherMaps
from aird_plugin.training.objective import used_terms


def open_maps(recipe: Recipe, student: nn.Module, teacher: Teacher | None) -> TeacherMaps | None:
    """The teacher's feature maps where a term compares them. ValueError where recipe or teacher cannot provide them."""
    names = [name for name, spec in used_terms(recipe.terms).items() if Needs.MAPS in spec.needs]
    if not names or teacher is None:
        return None
    users = ", ".join(names)
    if not recipe.bank.online:
        raise ValueError(f"{users}: the bank keeps no feature maps; set online=True, which runs the teacher in every step")
    check_maps_are_trainable(recipe, users)
    return TeacherMaps(teacher, student)


def check_maps_are_trainable(recipe: Recipe, users: str) -> None:
    """ValueError where the student records no maps, or no layer before them is trained. users: the terms that compare them."""
    if recipe.run.compile:
        raise ValueError(f"{users}: a compiled student records no feature maps; set compile=False")
    if recipe.student.freeze:
        raise ValueError(f"{users}: freeze={recipe.student.freeze!r} leaves no layer before the maps to train; set freeze=None")
