"""The generative part of the bank: every view of every face, resumable, tied to its inputs, standardised."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from aird_plugin.data import bank_prior
from aird_plugin.data.bank import BankConfig
from aird_plugin.data.bank_build import open_low_bank
from aird_plugin.data.bank_prior import channel_statistics, open_prior_bank, prior_folder


class Records:
    """Ten faces in memory."""

    path, num_classes = "memory", 2
    labels = np.repeat([0, 1], 5)

    def __init__(self, faces):
        self.faces = faces

    def __len__(self):
        return len(self.faces)

    def payload(self, row):
        out = io.BytesIO()
        Image.fromarray(self.faces[row]).save(out, "PNG")
        return out.getvalue()

    def fingerprint(self):
        return "records-1"


class Encoder:
    """Mean colours of a 2 x 2 grid, red and green alone: sees the flip."""

    shape, timestep, layer, degradation, factor = (2, 2, 2), 100, "mid", "bicubic", 1.0

    def __init__(self, prior="prior-12", **changes):
        self.sha256, self.calls = prior, 0
        vars(self).update(changes)

    def features(self, low_NPPC):
        self.calls += len(low_NPPC)
        grid = low_NPPC.reshape(-1, 2, 8, 2, 8, 3).astype(np.float32).mean((2, 4))
        return self.factor * grid.transpose(0, 3, 1, 2)[:, :2]

    def describe(self):
        return {"prior": self.sha256, "timestep": self.timestep, "layer": self.layer}


@pytest.fixture
def low(noise_faces, tmp_path):
    return open_low_bank(config(tmp_path), Records(noise_faces(10, seed=3)), 16)


def config(folder):
    return BankConfig(bank=str(folder / "bank"), views=4)


def test_features_are_the_encoders_on_every_view(low, tmp_path):
    bank = open_prior_bank(config(tmp_path), low, Encoder())
    assert bank.features_NVCHW.shape == (10, 4, 2, 2, 2) and bank.features_NVCHW.dtype == np.float16
    for row, view in ((0, 0), (4, 1), (9, 2), (9, 3)):
        face = low.faces(np.array([row]), np.array([view]))
        found = bank.features(np.array([row]), np.array([view])) * bank.spread_C11 + bank.centre_C11
        np.testing.assert_allclose(found, Encoder().features(face), rtol=1e-3)


def test_features_come_standardised_by_channel(low, tmp_path):
    bank = open_prior_bank(config(tmp_path), low, Encoder())
    rows, views = (x.ravel() for x in np.meshgrid(np.arange(10), np.arange(4)))
    features = bank.features(rows, views)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(features.std((0, 2, 3)), 1, atol=1e-4)


def test_statistics_of_blocks_are_those_of_the_whole(monkeypatch):
    """A mean of 1000 with a spread of 1, a channel that never moves, and blocks that do not divide the faces."""
    features = np.random.default_rng(0).normal(size=(7, 2, 3, 2, 2)) + np.array([1000, 0, 0])[:, None, None]
    features[:, :, 2] = 5
    monkeypatch.setattr(bank_prior, "BLOCK", 3)
    mean, spread = channel_statistics(features)
    np.testing.assert_allclose(mean, features.mean((0, 1, 3, 4)), rtol=1e-6)
    np.testing.assert_allclose(spread[:2], features.std((0, 1, 3, 4))[:2], rtol=1e-6)
    assert spread[2] == 1


def test_a_second_opening_computes_nothing(low, tmp_path):
    open_prior_bank(config(tmp_path), low, Encoder())
    again = Encoder()
    open_prior_bank(config(tmp_path), low, again)
    assert again.calls == 0


def test_an_interrupted_build_goes_on_where_it_stopped(low, tmp_path, monkeypatch):
    monkeypatch.setattr(bank_prior, "BLOCK", 3)
    whole = open_prior_bank(config(tmp_path / "whole"), low, Encoder())

    class Killed(Encoder):
        def features(self, low_NPPC):
            if self.calls >= 24:
                raise KeyboardInterrupt
            return super().features(low_NPPC)

    with pytest.raises(KeyboardInterrupt):
        open_prior_bank(config(tmp_path), low, Killed())
    folder = prior_folder(config(tmp_path), low, Encoder())
    assert json.loads((folder / "building.json").read_text())["rows_done"] == 6 and not (folder / "manifest.json").exists()
    rest = Encoder()
    bank = open_prior_bank(config(tmp_path), low, rest)
    assert rest.calls == 4 * 4
    np.testing.assert_array_equal(bank.features_NVCHW, whole.features_NVCHW)
    np.testing.assert_array_equal(bank.spread_C11, whole.spread_C11)


def test_other_faces_or_another_prior_of_a_like_name_make_it_stale(low, tmp_path):
    open_prior_bank(config(tmp_path), low, Encoder())
    with pytest.raises(ValueError, match="stale: prior was prior-12, now prior-12 of another kind"):
        open_prior_bank(config(tmp_path), low, Encoder("prior-12 of another kind"))
    low.manifest["inputs"]["records"] = "records-2"
    with pytest.raises(ValueError, match="records was records-1, now records-2"):
        open_prior_bank(config(tmp_path), low, Encoder())


@pytest.mark.parametrize("change", [{"timestep": 200}, {"layer": "down"}, {"prior": "another-2"}])
def test_another_reading_has_a_folder_of_its_own(low, tmp_path, change):
    open_prior_bank(config(tmp_path), low, Encoder())
    open_prior_bank(config(tmp_path), low, Encoder(**change))
    assert len(list((tmp_path / "bank").glob("prior-*/manifest.json"))) == 2


@pytest.mark.parametrize("factor", [1e4, float("nan")])
def test_features_that_float16_does_not_hold_are_refused(low, tmp_path, factor):
    with pytest.raises(ValueError, match="float16 holds 65504"):
        open_prior_bank(config(tmp_path), low, Encoder(factor=factor))


def test_a_cut_array_is_told_with_what_to_do(low, tmp_path):
    open_prior_bank(config(tmp_path), low, Encoder())
    path = prior_folder(config(tmp_path), low, Encoder()) / "features.npy"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="features.npy is missing or damaged"):
        open_prior_bank(config(tmp_path), low, Encoder())
