"""An identity and a shot -> the painted image, before lighting and camera.

`identity` and `shot` are the namespaces that `draw.py` samples; lengths are in the units of `canvas.py`.
"""

from types import SimpleNamespace

import numpy as np

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.synthetic.canvas import UNITS, Canvas, between, bulge, ellipse, glow, inside, ramp, stroke


def paint_portrait(identity: SimpleNamespace, shot: SimpleNamespace) -> np.ndarray:
    """Paint the image: (3, 112, 112), float32 RGB, nominally 0..1."""
    canvas = open_canvas(shot)
    paint_behind(canvas, identity, shot)
    face = paint_face(canvas, identity, shot)
    paint_marks(canvas, identity, face)
    for side in (-1, 1):
        paint_eye(canvas, identity, shot, side)
        paint_brow(canvas, identity, shot, side)
    paint_nose(canvas, identity, shot)
    paint_mouth(canvas, identity, shot)
    return canvas.rgb


def open_canvas(shot: SimpleNamespace) -> Canvas:
    """Compute every pixel's face coordinates by the inverse of the pose, and paint a smooth random background."""
    axis = ((np.arange(FACE_SIDE, dtype=np.float32) + 0.5) / FACE_SIDE - 0.5) * UNITS
    x, y = np.meshgrid(axis - shot.shift_x, axis - shot.shift_y)
    cos, sin = np.float32(np.cos(shot.roll) / shot.zoom), np.float32(np.sin(shot.roll) / shot.zoom)
    u, v = cos * x + sin * y, cos * y - sin * x
    # Turning the head moves the middle of the face, which is nearer to the camera, further than its rim.
    depth = ramp(1 - u * u - 0.5 * v * v)
    u = (u - np.float32(0.3 * np.sin(shot.yaw)) * depth) / np.float32(np.cos(0.7 * shot.yaw))
    v = (v - np.float32(0.3 * np.sin(shot.pitch)) * depth) / np.float32(np.cos(0.7 * shot.pitch))
    phase = np.tensordot(shot.waves, np.stack([x, y, np.ones_like(x)]), 1)
    backdrop = np.tensordot(shot.wave_colours, np.sin(phase), 1) + np.asarray(shot.backdrop, np.float32)[:, None, None]
    return Canvas(u, v, ramp(backdrop))


def paint_behind(canvas: Canvas, identity: SimpleNamespace, shot: SimpleNamespace) -> None:
    """Paint what lies behind the face: hair, neck, clothes, ears."""
    u, v, _ = canvas
    width, hair_side = identity.face_width, max(0.0, identity.hair_side + shot.hair_fuller)
    curtain = np.maximum(v - identity.hair_length - shot.hair_longer, -v - 0.15)
    curtain = np.maximum(np.abs(u) - width - hair_side, curtain)
    hair = np.minimum(hair_cap(canvas, identity, shot), curtain)
    canvas.paint(inside(hair, 0.06), hair_colour(identity, shot) * 0.85)
    canvas.paint(between(np.abs(u) - identity.neck - 0.12 * ramp(v), 0.5 - v), identity.skin * 0.8)
    collar = 0.98 + 0.25 * np.abs(u) - 0.25 * shot.collar * ramp(1 - np.abs(u) / 0.4)
    canvas.paint(inside(collar - v), shot.clothes)
    for side in (-1, 1):
        ear = canvas.near(side * width, 0.08, 0.3, 0.3)
        out = ear.u - side * (width + 0.3 * identity.ear)
        ear.paint(inside(ellipse(out, ear.v - 0.06, identity.ear, 1.5 * identity.ear)), identity.skin * 0.88)


def paint_face(canvas: Canvas, identity: SimpleNamespace, shot: SimpleNamespace) -> np.ndarray:
    """Paint skin, hairline and the shadow towards the rim; return the cover of the face (H, W)."""
    u, v, _ = canvas
    # The upper part is half an ellipse; the exponent of the lower part sets a pointed to square jaw.
    below, above = ramp(v / identity.chin), ramp((-v - 0.1) / (identity.skull + 0.05))
    half = identity.face_width * np.sqrt(1 - above * above) * (1 - below**identity.jaw) ** identity.cheek
    ends = np.maximum(v - identity.chin, -v - identity.skull - 0.1)
    face = between((np.abs(u) - half) * 0.8, ends)
    canvas.paint(face, identity.skin)
    canvas.shade(face * ramp(2 * np.abs(u) / identity.face_width - 1.1), 0.82)
    hairline = identity.hairline + shot.hairline_lower + 0.04 * np.sin(identity.locks * u + shot.tousle)
    hairline += (identity.hair_arch * u + identity.parting) * u
    hair = np.maximum(face, inside(hair_cap(canvas, identity, shot))) * inside(v - hairline, 0.06)
    canvas.paint(hair, hair_colour(identity, shot))
    return face


def paint_eye(canvas: Canvas, identity: SimpleNamespace, shot: SimpleNamespace, side: int) -> None:
    """Paint socket, fold, white, iris and lashes of the eye on one side (-1 left, 1 right)."""
    eye, out, rise = eye_window(canvas, identity, side)
    along = bulge(out, identity.eye_width)
    lid = identity.eye_open * shot.lids * along
    eye.shade(glow(out, rise, 1.7 * identity.eye_width, 2.8 * identity.eye_open), 1 - identity.socket)
    fold = rise + (0.9 * identity.eye_open + identity.lid_fold) * np.sqrt(along)
    eye.shade(stroke(fold, 0.008) * (along > 0.05), 0.72)
    white = between(-rise - lid, rise - 0.7 * lid) * (along > 0)
    eye.paint(white, (0.93, 0.92, 0.9))
    to_iris = np.hypot(out - side * shot.gaze, rise)
    eye.paint(white * inside(to_iris - identity.iris), identity.iris_colour)
    eye.paint(white * inside(to_iris - 0.45 * identity.iris), (0.03, 0.03, 0.03))
    lashes = stroke(rise + lid, identity.lash * (0.4 + 0.6 * along)) * (along > 0)
    eye.paint(0.85 * lashes, (0.1, 0.07, 0.06))


def paint_brow(canvas: Canvas, identity: SimpleNamespace, shot: SimpleNamespace, side: int) -> None:
    """Paint an arched stroke above the eye, thickest in the middle."""
    eye, out, rise = eye_window(canvas, identity, side)
    along = bulge(out - 0.02, identity.brow_length)
    height = rise + identity.brow_rise + shot.brow_lift - (identity.brow_tilt - identity.eye_tilt) * out
    brow = stroke(height + identity.brow_arch * along, identity.brow_thick * along) * (along > 0)
    eye.paint(brow * identity.brow_dark, identity.hair_colour * 0.6)


def paint_nose(canvas: Canvas, identity: SimpleNamespace, shot: SimpleNamespace) -> None:
    """Paint the flank away from the light, tip, underside and nostrils; yaw moves the nose sideways."""
    lean = 0.12 * np.sin(shot.yaw)
    part = canvas.near(lean, 0.1, 0.4, 0.5)
    u, v = part.u - np.float32(lean), part.v
    base, width = identity.nose_v, identity.nose_width
    along = ramp((v - identity.eye_v) / (base - identity.eye_v))
    flank = np.abs(u) - identity.bridge - (width - identity.bridge) * along * along
    dark_side = ramp(0.5 - 4 * np.sign(shot.light_x) * u) * (along > 0) * (along < 1)
    part.shade(stroke(flank, 0, 0.08) * dark_side, 1 - identity.nose_relief)
    part.shade(glow(u, v - base + 0.05, 0.8 * width, 0.09), 1.12)
    underside = v - base - 0.02 + identity.nose_hook * (u / width) ** 2
    part.shade(stroke(underside, 0.008, 0.04) * (np.abs(u) < width), 0.68)
    for side in (-1, 1):
        nostril = ellipse(u - side * 0.55 * width, v - base + 0.01, identity.nostril, 0.6 * identity.nostril)
        part.shade(inside(nostril), 0.4)


def paint_mouth(canvas: Canvas, identity: SimpleNamespace, shot: SimpleNamespace) -> None:
    """Paint lips and teeth: a smile widens and bends the lips, an open mouth lowers the lower lip."""
    part = canvas.near(0, identity.mouth_v, 0.5, 0.32)
    width = identity.mouth_width * (1 + 0.25 * shot.smile)
    along = bulge(part.u, width)
    v = part.v - identity.mouth_v + shot.smile * 0.09 * (1 - along) * (np.abs(part.u) < 2 * width)
    gape = shot.mouth_open * along
    upper = (identity.lip_upper - identity.lip_bow * bulge(part.u, 0.25 * width)) * along
    part.paint(between(-v - upper, v - gape - identity.lip_lower * along) * (along > 0), identity.lip_colour)
    part.shade(inside(np.maximum(-v, v - gape) - 0.006) * (along > 0), 0.3)
    teeth = between(-v, v - np.minimum(0.5 * gape, 0.03)) * (along > 0.2) * (gape > 0.03)
    part.paint(teeth, (0.9, 0.88, 0.84))
    part.shade(glow(part.u, v - gape - identity.lip_lower - 0.06, 0.7 * width, 0.05), 0.85)


def paint_marks(canvas: Canvas, identity: SimpleNamespace, face: np.ndarray) -> None:
    """Paint beard, moustache, folds beside the nose, freckles and moles."""
    if identity.beard:
        rim = ramp(3 * np.abs(canvas.u) + 6 * (canvas.v - identity.mouth_v))
        beard = face * ramp(4 * (canvas.v - identity.beard_line)) * rim
        canvas.paint(beard * identity.beard, identity.hair_colour * 0.8)
    if identity.moustache:
        lip = canvas.near(0, identity.mouth_v - 0.09, 0.4, 0.12)
        shape = ellipse(lip.u, lip.v - identity.mouth_v + 0.09, 0.95 * identity.mouth_width, 0.045)
        lip.paint(inside(shape, 0.05) * identity.moustache, identity.hair_colour * 0.8)
    cheeks = canvas.near(0, identity.mouth_v - 0.1, 0.45, 0.25)
    fold = np.abs(cheeks.u) - identity.nose_width - 0.1 - 0.35 * (cheeks.v - identity.nose_v)
    beside_nose = (cheeks.v > identity.nose_v) * (cheeks.v < identity.mouth_v)
    cheeks.shade(stroke(fold, 0.006) * beside_nose, 1 - identity.folds)
    for u, v, size, factor in identity.spots:
        spot = canvas.near(u, v, 0.1, 0.1)
        spot.shade(inside(np.hypot(spot.u - u, spot.v - v) - size), factor)


def hair_cap(canvas: Canvas, identity: SimpleNamespace, shot: SimpleNamespace) -> np.ndarray:
    """Signed distance to the hair on the skull."""
    side = max(0.0, identity.hair_side + shot.hair_fuller)
    top = max(0.0, identity.hair_top + shot.hair_fuller)
    return ellipse(canvas.u, canvas.v + 0.15, identity.face_width + side, identity.skull + top)


def hair_colour(identity: SimpleNamespace, shot: SimpleNamespace) -> np.ndarray:
    """Color of the hair on the head, RGB; its brightness differs from shot to shot, unlike that of brows and beard."""
    return identity.hair_colour * np.exp(shot.hair_lighter)


def eye_window(canvas: Canvas, identity: SimpleNamespace, side: int) -> tuple[Canvas, np.ndarray, np.ndarray]:
    """Window around an eye and its brow; distance outwards from the eye; distance below its slanted axis."""
    eye = canvas.near(side * identity.eye_gap, identity.eye_v - 0.08, 0.34, 0.42)
    out = (eye.u - side * identity.eye_gap) * side
    return eye, out, eye.v - identity.eye_v + identity.eye_tilt * out
