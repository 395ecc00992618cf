"""Pictures of some people on a plane (the AIRD paper's figure 4)."""

from aird_plugin.report.charts import Chart, look
from aird_plugin.report.html import Section, figure, figures, missing, numbers, paragraph, table
from aird_plugin.report.material import Material, PeopleMap
from aird_plugin.report.scales import Scale

TITLE = "People"
NEEDS = "A map of people needs --pairs with a file in which genuine pairs chain four or more pictures of some people together."
READ = (
    "Low pictures of the people who have most of them; colour and mark tell the people. Such a map shows neighbourhoods, "
    "not distances: the gaps between groups and their sizes mean nothing. The share below each map is measured in the full "
    "width of the embeddings."
)


def section(material: Material) -> Section:
    """A map a method."""
    if material.focus is None or not material.focus.maps:
        return Section("people", TITLE, missing(NEEDS))
    maps = sorted(material.focus.maps, key=lambda each: material.names.index(each.name))
    pictures = f"{len(maps[0].person_M)} pictures of {material.focus.people} people at {material.focus.px} px; {maps[0].how}."
    rows = [[each.name, 100 * each.nearest] for each in maps]
    shares = table(["Method", "Nearest neighbour is the same person, %"], rows, pictures)
    body = paragraph(f"{READ} {pictures}", "soft") + figures(map(_map, maps)) + numbers(shares)
    return Section("people", TITLE, body)


def _map(people: PeopleMap) -> str:
    low_2, high_2 = people.place_M2.min(axis=0), people.place_M2.max(axis=0)
    room_2 = 0.06 * (high_2 - low_2)
    x, y = (Scale(float(low_2[n] - room_2[n]), float(high_2[n] + room_2[n]), []) for n in (0, 1))
    chart = Chart(x, y, "", "", 300, left=10)
    for (across, down), person in zip(people.place_M2.tolist(), people.person_M.tolist(), strict=True):
        chart.point(across, down, look(person), f"person {person + 1}")
    words = f"{people.name}: map of {len(people.person_M)} pictures"
    return figure(chart.svg(words), people.name, f"nearest neighbour is the same person: {100 * people.nearest:.0f}%")
