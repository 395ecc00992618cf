"""The prior cache: every view of every image, resumable, tied to its inputs, standardised."""

import json

import numpy as np
import pytest

from aird_plugin.data import blocks
from aird_plugin.data.bank import prior_cache
from aird_plugin.data.bank.build import open_image_cache
from aird_plugin.data.bank.config import BankConfig
from aird_plugin.data.bank.prior_cache import channel_statistics, open_prior_cache, prior_folder


class Encoder:
    """Mean red and green of a 2 x 2 grid; sensitive to the flip."""

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
def low(records, tmp_path):
    return open_image_cache(config(tmp_path), records, 16)


def config(folder):
    return BankConfig(bank=str(folder / "bank"), views=4)


def test_features_match_the_encoder_on_every_view(low, tmp_path):
    cache = open_prior_cache(config(tmp_path), low, Encoder())
    assert cache.features_NVCHW.shape == (10, 4, 2, 2, 2) and cache.features_NVCHW.dtype == np.float16
    for row, view in ((0, 0), (4, 1), (9, 2), (9, 3)):
        image = low.faces(np.array([row]), np.array([view]))
        found = cache.features(np.array([row]), np.array([view])) * cache.spread_C11 + cache.center_C11
        np.testing.assert_allclose(found, Encoder().features(image), rtol=1e-3)


def test_features_are_standardised_per_channel(low, tmp_path):
    cache = open_prior_cache(config(tmp_path), low, Encoder())
    rows, views = (x.ravel() for x in np.meshgrid(np.arange(10), np.arange(4)))
    features = cache.features(rows, views)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(features.std((0, 2, 3)), 1, atol=1e-4)


def test_blockwise_statistics_match_numpy(monkeypatch):
    """A mean of 1000 with a spread of 1, a constant channel, and blocks that do not divide the number of images."""
    features = np.random.default_rng(0).normal(size=(7, 2, 3, 2, 2)) + np.array([1000, 0, 0])[:, None, None]
    features[:, :, 2] = 5
    monkeypatch.setattr(prior_cache, "BLOCK", 3)
    mean, spread = channel_statistics(features)
    np.testing.assert_allclose(mean, features.mean((0, 1, 3, 4)), rtol=1e-6)
    np.testing.assert_allclose(spread[:2], features.std((0, 1, 3, 4))[:2], rtol=1e-6)
    assert spread[2] == 1


def test_reopening_computes_nothing(low, tmp_path):
    open_prior_cache(config(tmp_path), low, Encoder())
    reopened = Encoder()
    open_prior_cache(config(tmp_path), low, reopened)
    assert reopened.calls == 0


def test_an_interrupted_build_resumes(low, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 3)
    uninterrupted = open_prior_cache(config(tmp_path / "whole"), low, Encoder())

    class Killed(Encoder):
        def features(self, low_NPPC):
            if self.calls >= 24:
                raise KeyboardInterrupt
            return super().features(low_NPPC)

    with pytest.raises(KeyboardInterrupt):
        open_prior_cache(config(tmp_path), low, Killed())
    folder = prior_folder(config(tmp_path), low, Encoder())
    assert json.loads((folder / "building.json").read_text())["rows_done"] == 6 and not (folder / "manifest.json").exists()
    rest = Encoder()
    cache = open_prior_cache(config(tmp_path), low, rest)
    assert rest.calls == 4 * 4
    np.testing.assert_array_equal(cache.features_NVCHW, uninterrupted.features_NVCHW)
    np.testing.assert_array_equal(cache.spread_C11, uninterrupted.spread_C11)


def test_other_records_or_another_prior_make_the_cache_stale(low, tmp_path):
    open_prior_cache(config(tmp_path), low, Encoder())
    with pytest.raises(ValueError, match="stale: prior was prior-12, now prior-12 of another kind"):
        open_prior_cache(config(tmp_path), low, Encoder("prior-12 of another kind"))
    low.manifest["inputs"]["records"] = "records-2"
    with pytest.raises(ValueError, match="records was records-1, now records-2"):
        open_prior_cache(config(tmp_path), low, Encoder())


@pytest.mark.parametrize("change", [{"timestep": 200}, {"layer": "down"}, {"prior": "another-2"}])
def test_another_layer_timestep_or_prior_has_its_own_folder(low, tmp_path, change):
    open_prior_cache(config(tmp_path), low, Encoder())
    open_prior_cache(config(tmp_path), low, Encoder(**change))
    assert len(list((tmp_path / "bank").glob("prior-*/manifest.json"))) == 2


@pytest.mark.parametrize("factor", [1e4, float("nan")])
def test_features_outside_float16_are_rejected(low, tmp_path, factor):
    with pytest.raises(ValueError, match="float16 holds 65504"):
        open_prior_cache(config(tmp_path), low, Encoder(factor=factor))


def test_a_truncated_array_is_reported_with_a_remedy(low, tmp_path):
    open_prior_cache(config(tmp_path), low, Encoder())
    path = prior_folder(config(tmp_path), low, Encoder()) / "features.npy"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="features.npy is missing or damaged"):
        open_prior_cache(config(tmp_path), low, Encoder())
