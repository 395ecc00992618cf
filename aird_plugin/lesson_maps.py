"""A lesson whose terms look at intermediate maps: what the recipe must allow for, and the teacher that gives them."""

from torch import nn

from aird_plugin.models.teacher_maps import TeacherMaps
from aird_plugin.recipe import Recipe


def open_maps(recipe: Recipe, student: nn.Module, teacher) -> TeacherMaps | None:
    """The teacher's intermediate maps where a term looks at them. ValueError where recipe or teacher cannot give them."""
    names = [name for name, spec in recipe.terms.items() if spec.weight != 0 and "maps" in spec.needs]
    if not names or teacher is None:
        return None
    wanting = ", ".join(names)
    if not recipe.bank.online:
        raise ValueError(f"{wanting}: the bank keeps no intermediate maps; set online=True, which asks the teacher in every step")
    check_maps_can_be_taught(recipe, wanting)
    return TeacherMaps(teacher, student)


def check_maps_can_be_taught(recipe: Recipe, wanting: str) -> None:
    """ValueError where the student gives no maps, or where nothing before them learns. wanting: the terms that look at them."""
    if recipe.run.compile:
        raise ValueError(f"{wanting}: a compiled student does not give its intermediate maps; set compile=False")
    if recipe.student.freeze:
        raise ValueError(f"{wanting}: freeze={recipe.student.freeze!r} leaves nothing of the maps to be taught; set freeze=None")
