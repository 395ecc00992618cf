"""Blends of two faces: their pixels, where they come from, and how a training set with them grows."""

import hashlib

import numpy as np
import pytest

from aird_plugin.data.blended_records import LEAST_SHARE, BlendedRecords, draw_blend, mean_faces
from aird_plugin.data.photo_edges import WHOLE, cut_face
from aird_plugin.data.records import decode_face, open_records, originals, skipped_images
from aird_plugin.data.turned_faces import turn_face


@pytest.fixture(scope="module")
def stored(tiny_run):
    return open_records(tiny_run["rec"])


def test_mean_equals_a_loop():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 112, 112, 3), np.uint8)
    share = rng.random(112)
    found = mean_faces(first, second, share)
    for y in range(112):
        expected = share[y] * first[y].astype(float) + (1 - share[y]) * second[y]
        assert np.abs(found[y] - expected).max() <= 0.5 + 1e-9


def test_shares_of_one_and_zero_are_the_faces_themselves():
    first, second = np.random.default_rng(1).integers(0, 256, (2, 112, 112, 3), np.uint8)
    assert np.array_equal(mean_faces(first, second, np.ones(112)), first)
    assert np.array_equal(mean_faces(first, second, np.zeros(112)), second)
    halves = mean_faces(np.full((112, 112, 3), 10, np.uint8), np.full((112, 112, 3), 30, np.uint8), np.full(112, 0.5))
    assert (halves == 20).all()


def test_draws_are_means_or_seams_with_any_partner():
    blends = [draw_blend(row, 50) for row in range(50, 3050)]
    assert [blend.first for blend in blends[:51]] == [*range(50), 0]
    assert {blend.second for blend in blends} == set(range(50))
    seams = [blend.share_H for blend in blends if blend.share_H[0] != blend.share_H[-1]]
    assert 0.30 < len(seams) / len(blends) < 0.37
    assert 0.45 < np.mean([blend.mirrored for blend in blends]) < 0.55
    for share_H in seams:
        ends = {float(share_H[0]), float(share_H[-1])}
        assert ends == {0.0, 1.0} and len({*np.sign(np.diff(share_H))} - {0}) == 1
        assert 15 <= np.count_nonzero((share_H > 0) & (share_H < 1)) <= 16
    whole = [blend.share_H[0] for blend in blends if blend.share_H[0] == blend.share_H[-1]]
    assert LEAST_SHARE <= min(whole) < 0.31 and 0.69 < max(whole) <= 1 - LEAST_SHARE
    assert 0.4 < np.mean([share_H[0] for share_H in seams]) < 0.6


def test_shares_are_turned_and_cut_and_change_no_other_draw():
    rows = range(50, 3050)
    plain, some = [draw_blend(row, 50) for row in rows], [draw_blend(row, 50, turned=0.5, cut=0.2) for row in rows]
    assert all(blend.yaw == 0 and blend.edges == WHOLE for blend in plain)
    assert [blend[:3] for blend in some] == [blend[:3] for blend in plain]
    assert all(np.array_equal(one.share_H, other.share_H) for one, other in zip(some, plain, strict=True))
    yaw_B = np.array([blend.yaw for blend in some])
    assert 0.45 < np.mean(yaw_B != 0) < 0.53 and {yaw_B.min(), yaw_B.max()} == {-80, 80} and abs(yaw_B.mean()) < 2
    assert 0.17 < np.mean([blend.edges != WHOLE for blend in some]) < 0.23
    more = [draw_blend(row, 50, turned=0.9) for row in rows]
    assert all(one.yaw in (0, other.yaw) for one, other in zip(some, more, strict=True))


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({}, "b622ea04508382362e42f8252dd24e98fabb2d42b14591aaf318b931ddfebe61"),
        ({"turned": 0.5, "cut": 0.5}, "d3c8456a4c202dfc6e2ea0dc7c8512a69e8eb1963146c710a8e018fe95d4f7c2"),
    ],
)
def test_draws_of_banks_on_disk_stay(shares, expected):
    """A change of the draws, also one by NumPy, needs another VERSION: complete banks hold the blends as they were drawn."""
    digest = hashlib.sha256()
    for row in range(50, 550):
        blend = draw_blend(row, 50, **shares)
        numbers = [blend.first, blend.second, blend.mirrored, *blend.share_H, blend.yaw, *blend.edges]
        digest.update(np.round(numbers, 9).astype("<f8").tobytes())
    assert digest.hexdigest() == expected


def test_rows_are_the_images_and_then_their_blends(stored):
    records = BlendedRecords(stored, 2, turned=0.5, cut=0.5)
    images = len(stored)
    assert len(records) == 3 * images and records.num_classes == 0 and (records.labels == -1).all()
    assert np.array_equal(decode_face(records, 5), decode_face(stored, 5)) and records.payload(5) == stored.payload(5)
    for row in (images, images + 7, 3 * images - 1):
        blend = draw_blend(row, images, 0.5, 0.5)
        first, second = decode_face(stored, row % images), decode_face(stored, blend.second)
        second = second[:, ::-1] if blend.mirrored else second
        expected = cut_face(turn_face(mean_faces(first, second, blend.share_H), blend.yaw), blend.edges)
        assert np.array_equal(decode_face(records, row), expected)
        assert stored.where(row % images) in records.where(row) and stored.where(blend.second) in records.where(row)
    assert draw_blend(images + 7, images).second != draw_blend(2 * images + 7, images).second


def test_rows_of_fewer_blends_stay_when_there_are_more(stored):
    few, more = BlendedRecords(stored, 1), BlendedRecords(stored, 3)
    assert [few.payload(row) for row in range(len(few))] == [more.payload(row) for row in range(len(few))]
    prints = [source.fingerprint() for source in more.sources]
    assert prints[:2] == [source.fingerprint() for source in few.sources] and len(set(prints)) == 4
    assert prints[0] == stored.fingerprint()
    turned = BlendedRecords(stored, 1, turned=0.5)
    assert len({records.fingerprint() for records in (stored, few, more, turned)}) == 4


def test_payload_of_a_blend_follows_how_it_is_made(stored):
    rows = range(len(stored), 2 * len(stored))
    payloads = [
        [BlendedRecords(stored, 1, **shares).payload(row) for row in rows] for shares in ({}, {"turned": 1.0}, {"cut": 1.0})
    ]
    assert all(len(set(same_row)) == 3 for same_row in zip(*payloads, strict=True))


def test_payload_of_a_blend_follows_its_sources(stored, monkeypatch):
    records = BlendedRecords(stored, 1)
    row = len(stored) + 3
    before, blend, own = records.payload(row), draw_blend(row, len(stored)), stored.payload
    monkeypatch.setattr(stored, "payload", lambda one: own(one) + b"." * (one == blend.second))
    assert records.payload(row) != before
    monkeypatch.setattr(stored, "payload", lambda one: own(one) + b"." * (one not in (blend.first, blend.second)))
    assert records.payload(row) == before


def test_originals_are_the_images_without_blends(stored):
    records = BlendedRecords(stored, 2)
    assert len(originals(records)) == len(stored) and originals(records).fingerprint() == stored.fingerprint()
    assert (originals(records).labels == -1).all() and originals(stored) is stored
    assert skipped_images(records) == 0
