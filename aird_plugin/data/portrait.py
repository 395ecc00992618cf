"""A person and a shot -> the painted picture, before light and camera.

`person` and `shot` are the namespaces that `synthetic.py` samples; lengths are in the units of `canvas.py`.
"""

from types import SimpleNamespace

import numpy as np

from aird_plugin.data.canvas import SIDE, UNITS, Canvas, between, bulge, ellipse, glow, inside, ramp, stroke


def paint_portrait(person: SimpleNamespace, shot: SimpleNamespace) -> np.ndarray:
    """The picture (3, 112, 112), float32 RGB, nominally 0..1."""
    canvas = open_canvas(shot)
    paint_behind(canvas, person, shot)
    face = paint_face(canvas, person, shot)
    paint_marks(canvas, person, face)
    for side in (-1, 1):
        paint_eye(canvas, person, shot, side)
        paint_brow(canvas, person, shot, side)
    paint_nose(canvas, person, shot)
    paint_mouth(canvas, person, shot)
    return canvas.rgb


def open_canvas(shot: SimpleNamespace) -> Canvas:
    """Every pixel's face coordinates, by the inverse of the pose, and a random smooth background."""
    axis = ((np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE - 0.5) * UNITS
    x, y = np.meshgrid(axis - shot.shift_x, axis - shot.shift_y)
    cos, sin = np.float32(np.cos(shot.roll) / shot.zoom), np.float32(np.sin(shot.roll) / shot.zoom)
    u, v = cos * x + sin * y, cos * y - sin * x
    # A turning head moves what is near the camera, the middle of the face, further than its rim.
    depth = ramp(1 - u * u - 0.5 * v * v)
    u = (u - np.float32(0.3 * np.sin(shot.yaw)) * depth) / np.float32(np.cos(0.7 * shot.yaw))
    v = (v - np.float32(0.3 * np.sin(shot.pitch)) * depth) / np.float32(np.cos(0.7 * shot.pitch))
    phase = np.tensordot(shot.waves, np.stack([x, y, np.ones_like(x)]), 1)
    backdrop = np.tensordot(shot.wave_colours, np.sin(phase), 1) + np.float32(shot.backdrop)[:, None, None]
    return Canvas(u, v, ramp(backdrop))


def paint_behind(canvas: Canvas, person: SimpleNamespace, shot: SimpleNamespace) -> None:
    """What the face covers: hair, neck, clothes, ears."""
    u, v, _ = canvas
    width, hair_side = person.face_width, max(0.0, person.hair_side + shot.hair_fuller)
    curtain = np.maximum(v - person.hair_length - shot.hair_longer, -v - 0.15)
    curtain = np.maximum(np.abs(u) - width - hair_side, curtain)
    hair = np.minimum(hair_cap(canvas, person, shot), curtain)
    canvas.paint(inside(hair, 0.06), hair_colour(person, shot) * 0.85)
    canvas.paint(between(np.abs(u) - person.neck - 0.12 * ramp(v), 0.5 - v), person.skin * 0.8)
    collar = 0.98 + 0.25 * np.abs(u) - 0.25 * shot.collar * ramp(1 - np.abs(u) / 0.4)
    canvas.paint(inside(collar - v), shot.clothes)
    for side in (-1, 1):
        ear = canvas.near(side * width, 0.08, 0.3, 0.3)
        out = ear.u - side * (width + 0.3 * person.ear)
        ear.paint(inside(ellipse(out, ear.v - 0.06, person.ear, 1.5 * person.ear)), person.skin * 0.88)


def paint_face(canvas: Canvas, person: SimpleNamespace, shot: SimpleNamespace) -> np.ndarray:
    """Skin, hairline and the shadow towards the rim; returns the face's cover (H, W)."""
    u, v, _ = canvas
    # Half an ellipse above; below, a jaw whose exponent goes from pointed to square.
    below, above = ramp(v / person.chin), ramp((-v - 0.1) / (person.skull + 0.05))
    half = person.face_width * np.sqrt(1 - above * above) * (1 - below**person.jaw) ** person.cheek
    ends = np.maximum(v - person.chin, -v - person.skull - 0.1)
    face = between((np.abs(u) - half) * 0.8, ends)
    canvas.paint(face, person.skin)
    canvas.shade(face * ramp(2 * np.abs(u) / person.face_width - 1.1), 0.82)
    hairline = person.hairline + shot.hairline_lower + 0.04 * np.sin(person.locks * u + shot.tousle)
    hairline += (person.hair_arch * u + person.parting) * u
    hair = np.maximum(face, inside(hair_cap(canvas, person, shot))) * inside(v - hairline, 0.06)
    canvas.paint(hair, hair_colour(person, shot))
    return face


def paint_eye(canvas: Canvas, person: SimpleNamespace, shot: SimpleNamespace, side: int) -> None:
    """Socket, fold, white, iris and lashes of the eye on one side (-1 left, 1 right)."""
    eye, out, rise = eye_window(canvas, person, side)
    along = bulge(out, person.eye_width)
    lid = person.eye_open * shot.lids * along
    eye.shade(glow(out, rise, 1.7 * person.eye_width, 2.8 * person.eye_open), 1 - person.socket)
    fold = rise + (0.9 * person.eye_open + person.lid_fold) * np.sqrt(along)
    eye.shade(stroke(fold, 0.008) * (along > 0.05), 0.72)
    white = between(-rise - lid, rise - 0.7 * lid) * (along > 0)
    eye.paint(white, (0.93, 0.92, 0.9))
    to_iris = np.hypot(out - side * shot.gaze, rise)
    eye.paint(white * inside(to_iris - person.iris), person.iris_colour)
    eye.paint(white * inside(to_iris - 0.45 * person.iris), (0.03, 0.03, 0.03))
    lashes = stroke(rise + lid, person.lash * (0.4 + 0.6 * along)) * (along > 0)
    eye.paint(0.85 * lashes, (0.1, 0.07, 0.06))


def paint_brow(canvas: Canvas, person: SimpleNamespace, shot: SimpleNamespace, side: int) -> None:
    """An arched stroke above the eye, thickest in its middle."""
    eye, out, rise = eye_window(canvas, person, side)
    along = bulge(out - 0.02, person.brow_length)
    height = rise + person.brow_rise + shot.brow_lift - (person.brow_tilt - person.eye_tilt) * out
    brow = stroke(height + person.brow_arch * along, person.brow_thick * along) * (along > 0)
    eye.paint(brow * person.brow_dark, person.hair_colour * 0.6)


def paint_nose(canvas: Canvas, person: SimpleNamespace, shot: SimpleNamespace) -> None:
    """The flank away from the light, tip, underside and nostrils; a turned head carries the nose aside."""
    lean = 0.12 * np.sin(shot.yaw)
    part = canvas.near(lean, 0.1, 0.4, 0.5)
    u, v = part.u - np.float32(lean), part.v
    base, width = person.nose_v, person.nose_width
    along = ramp((v - person.eye_v) / (base - person.eye_v))
    flank = np.abs(u) - person.bridge - (width - person.bridge) * along * along
    dark_side = ramp(0.5 - 4 * np.sign(shot.light_x) * u) * (along > 0) * (along < 1)
    part.shade(stroke(flank, 0, 0.08) * dark_side, 1 - person.nose_relief)
    part.shade(glow(u, v - base + 0.05, 0.8 * width, 0.09), 1.12)
    underside = v - base - 0.02 + person.nose_hook * (u / width) ** 2
    part.shade(stroke(underside, 0.008, 0.04) * (np.abs(u) < width), 0.68)
    for side in (-1, 1):
        nostril = ellipse(u - side * 0.55 * width, v - base + 0.01, person.nostril, 0.6 * person.nostril)
        part.shade(inside(nostril), 0.4)


def paint_mouth(canvas: Canvas, person: SimpleNamespace, shot: SimpleNamespace) -> None:
    """Lips and teeth: a smile widens and bends the lips, an open mouth drops the lower one."""
    part = canvas.near(0, person.mouth_v, 0.5, 0.32)
    width = person.mouth_width * (1 + 0.25 * shot.smile)
    along = bulge(part.u, width)
    v = part.v - person.mouth_v + shot.smile * 0.09 * (1 - along) * (np.abs(part.u) < 2 * width)
    gape = shot.mouth_open * along
    upper = (person.lip_upper - person.lip_bow * bulge(part.u, 0.25 * width)) * along
    part.paint(between(-v - upper, v - gape - person.lip_lower * along) * (along > 0), person.lip_colour)
    part.shade(inside(np.maximum(-v, v - gape) - 0.006) * (along > 0), 0.3)
    teeth = between(-v, v - np.minimum(0.5 * gape, 0.03)) * (along > 0.2) * (gape > 0.03)
    part.paint(teeth, (0.9, 0.88, 0.84))
    part.shade(glow(part.u, v - gape - person.lip_lower - 0.06, 0.7 * width, 0.05), 0.85)


def paint_marks(canvas: Canvas, person: SimpleNamespace, face: np.ndarray) -> None:
    """Beard, moustache, folds beside the nose, freckles and moles."""
    if person.beard:
        rim = ramp(3 * np.abs(canvas.u) + 6 * (canvas.v - person.mouth_v))
        beard = face * ramp(4 * (canvas.v - person.beard_line)) * rim
        canvas.paint(beard * person.beard, person.hair_colour * 0.8)
    if person.moustache:
        lip = canvas.near(0, person.mouth_v - 0.09, 0.4, 0.12)
        shape = ellipse(lip.u, lip.v - person.mouth_v + 0.09, 0.95 * person.mouth_width, 0.045)
        lip.paint(inside(shape, 0.05) * person.moustache, person.hair_colour * 0.8)
    cheeks = canvas.near(0, person.mouth_v - 0.1, 0.45, 0.25)
    fold = np.abs(cheeks.u) - person.nose_width - 0.1 - 0.35 * (cheeks.v - person.nose_v)
    beside_nose = (cheeks.v > person.nose_v) * (cheeks.v < person.mouth_v)
    cheeks.shade(stroke(fold, 0.006) * beside_nose, 1 - person.folds)
    for u, v, size, factor in person.spots:
        spot = canvas.near(u, v, 0.1, 0.1)
        spot.shade(inside(np.hypot(spot.u - u, spot.v - v) - size), factor)


def hair_cap(canvas: Canvas, person: SimpleNamespace, shot: SimpleNamespace) -> np.ndarray:
    """Signed distance to the hair on the skull."""
    side = max(0.0, person.hair_side + shot.hair_fuller)
    top = max(0.0, person.hair_top + shot.hair_fuller)
    return ellipse(canvas.u, canvas.v + 0.15, person.face_width + side, person.skull + top)


def hair_colour(person: SimpleNamespace, shot: SimpleNamespace) -> np.ndarray:
    """Hair of the head, RGB; how bright it comes out differs from shot to shot, brows and beards do not."""
    return person.hair_colour * np.exp(shot.hair_lighter)


def eye_window(canvas: Canvas, person: SimpleNamespace, side: int) -> tuple[Canvas, np.ndarray, np.ndarray]:
    """Window around an eye and its brow; distance outwards from the eye; distance below its slanted axis."""
    eye = canvas.near(side * person.eye_gap, person.eye_v - 0.08, 0.34, 0.42)
    out = (eye.u - side * person.eye_gap) * side
    return eye, out, eye.v - person.eye_v + person.eye_tilt * out
