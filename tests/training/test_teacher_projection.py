"""The projected teacher cache: what the projection learns, and that stale or half-written arrays are never read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from aird_plugin.config.recipe import from_flat, load
from aird_plugin.config.recipe_file import recipe_path
from aird_plugin.data.bank.caches import TeacherCache
from aird_plugin.data.bank.config import BankConfig
from aird_plugin.data.bank.neighbors import class_means
from aird_plugin.losses.bridge_distillation import BridgeDistillation, mimic_loss
from aird_plugin.losses.cosine import CosineRegression
from aird_plugin.models import build
from aird_plugin.training import teacher_projection
from aird_plugin.training.loop import train
from aird_plugin.training.state import build_state
from aird_plugin.training.teacher_projection import ProjectedTeacherCache, open_projected_cache, projected_width, train_projection
from aird_plugin.training.validation import eval_specs
from tests.runs import metrics

CPU = torch.device("cpu")
RECIPES = Path(__file__).parents[2] / "recipes"
IDENTITIES, FACES, VIEWS, WIDTH = 40, 6, 4, 8
QUICK = {"epochs": 150, "lr": 0.02}


@pytest.fixture
def config(tmp_path):
    return BankConfig(bank=str(tmp_path), views=VIEWS)


@pytest.fixture
def bank(config):
    """Identities differ in the first four axes; the last four, of nearly the same variance, depend on the photo alone."""
    return write_bank(config.teacher_folder, np.random.default_rng(0))


def write_bank(folder: Path, rng) -> TeacherCache:
    label_N = np.arange(IDENTITIES).repeat(FACES).astype(np.int32)
    identity_ND = rng.normal(size=(IDENTITIES, 4))[label_N]
    photos_NVD = rng.normal(size=(len(label_N), VIEWS, 4)) * 0.9
    raw_NVD = np.concatenate([np.broadcast_to(identity_ND[:, None], photos_NVD.shape), photos_NVD], 2)
    embeddings_NVD = raw_NVD / np.linalg.norm(raw_NVD, axis=2, keepdims=True)
    mean_ND = embeddings_NVD.mean(1).astype(np.float32)
    arrays = {
        "embeddings": embeddings_NVD.astype(np.float16),
        "centres": class_means(mean_ND, label_N, IDENTITIES),
        "person": label_N,
        "same": np.zeros((len(label_N), 1), np.int32),
        "hard": np.zeros((len(label_N), 1), np.int32),
    }
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return TeacherCache(folder, {"inputs": {"records": "abc"}, "sha256": {}})


def opened(config, bank, **keys) -> TeacherCache:
    return open_projected_cache(config, {"adapted": BridgeDistillation(**QUICK | keys)}, bank, CPU)


def separation(embeddings_NVD) -> float:
    """Mean cosine of two images of one identity minus that of two identities."""
    x_ND = F.normalize(torch.from_numpy(np.array(embeddings_NVD[:, 0]).astype(np.float32)), dim=1)
    cosine_NN, label_N = x_ND @ x_ND.T, torch.arange(IDENTITIES).repeat_interleave(FACES)
    same_NN = (label_N[:, None] == label_N) & ~torch.eye(len(x_ND), dtype=torch.bool)
    return (cosine_NN[same_NN].mean() - cosine_NN[label_N[:, None] != label_N].mean()).item()


@pytest.mark.parametrize("width", [0, 4])
def test_projection_separates_identities_and_generalizes_to_unseen_ones(config, bank, tmp_path, width):
    projected = opened(config, bank, width=width, closeness=1.0)
    assert separation(projected.embeddings_NVD) > 1.5 * separation(bank.embeddings_NVD)
    others = write_bank(tmp_path / "others", np.random.default_rng(1))
    others_NVD = projected.project(torch.from_numpy(others.embeddings_NVD.astype(np.float32))).numpy()
    assert separation(others_NVD) > 1.3 * separation(others.embeddings_NVD)


def test_cache_holds_the_documented_arrays(config, bank):
    projected = opened(config, bank, width=4)
    assert isinstance(projected, ProjectedTeacherCache) and projected.dim == 4
    assert projected.embeddings_NVD.shape == (IDENTITIES * FACES, VIEWS, 4) and projected.embeddings_NVD.dtype == np.float16
    assert projected.centers_CD.shape == (IDENTITIES, 4) and projected.weight_ED.shape == (4, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(projected.embeddings_NVD.astype(np.float32), axis=2), 1, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(projected.centers_CD, axis=1), 1, atol=1e-5)
    # Each center is nearest to the images of its identity.
    nearest = (projected.embeddings_NVD.astype(np.float32).mean(1) @ projected.centers_CD.T).argmax(1)
    assert (nearest == projected.label_N).mean() > 0.9
    # Neighbours stay those of the teacher, and the teacher cache is unchanged.
    assert projected.same_NS is bank.same_NS and projected.hard_NK is bank.hard_NK and bank.dim == WIDTH
    files = {path.name for path in (config.teacher_folder.parent / "adapted4-v4").iterdir()}
    assert files == {"embeddings.npy", "centres.npy", "weight.npy", "manifest.json"}


def test_online_embeddings_are_projected_alike(config, bank):
    projected = opened(config, bank)
    online_BD = projected.project(7 * torch.from_numpy(bank.embeddings(np.array([3, 5]), np.array([0, 2]))))
    stored_BD = torch.from_numpy(projected.embeddings(np.array([3, 5]), np.array([0, 2])))
    torch.testing.assert_close(online_BD, stored_BD, rtol=0, atol=1e-3)
    assert bank.project(online_BD) is online_BD


def test_projection_without_learning_is_the_identity_map(config, bank):
    initial = opened(config, bank, lr=1e-12)
    torch.testing.assert_close(initial.weight_ED, torch.eye(WIDTH))
    np.testing.assert_allclose(initial.embeddings_NVD, bank.embeddings_NVD, atol=1e-3)


def test_narrow_projection_starts_from_the_principal_directions(config, bank):
    weight_ED, _ = train_projection(bank, BridgeDistillation(lr=1e-12, epochs=1), 4, CPU)
    torch.testing.assert_close(weight_ED @ weight_ED.T, torch.eye(4), atol=1e-5, rtol=0)
    known_XD = torch.from_numpy(bank.embeddings_NVD.astype(np.float32)).reshape(-1, WIDTH)
    most = torch.linalg.svdvals(known_XD)[:4].square().sum()
    torch.testing.assert_close((known_XD @ weight_ED.T).square().sum(), most, rtol=1e-4, atol=0)


def test_closeness_keeps_the_projection_near_the_teacher(bank):
    def drift(closeness: float) -> float:
        weight_ED, _ = train_projection(bank, BridgeDistillation(closeness=closeness, **QUICK), WIDTH, CPU)
        known_XD = torch.from_numpy(bank.embeddings_NVD[:, 0].astype(np.float32))
        return (1 - F.cosine_similarity(known_XD @ weight_ED.T, known_XD)).mean().item()

    assert drift(1000.0) < 0.2 * drift(0.0)


def test_projection_is_a_function_of_the_seed(bank):
    one, again, other = (train_projection(bank, BridgeDistillation(epochs=2, seed=seed), WIDTH, CPU) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], other[0])


def test_projection_is_trained_once_and_student_keys_do_not_matter(config, bank, monkeypatch):
    first = opened(config, bank)
    monkeypatch.setattr(teacher_projection, "train_projection", None)
    again = opened(config, bank, weight=1.0, warmup_epochs=2.0)
    assert np.array_equal(first.embeddings_NVD, again.embeddings_NVD) and torch.equal(first.weight_ED, again.weight_ED)


def test_stale_cache_is_rejected_by_key(config, bank):
    opened(config, bank)
    with pytest.raises(ValueError, match=r"adapted8-v4 is stale: closeness was 1.0, now 3.0"):
        opened(config, bank, closeness=3.0)
    bank.manifest["inputs"]["records"] = "def"
    with pytest.raises(ValueError, match="is stale: teacher_half was"):
        opened(config, bank)


def test_unfinished_cache_is_rebuilt(config, bank, monkeypatch):
    whole_NVD = np.array(opened(config, bank).embeddings_NVD)
    folder = config.teacher_folder.parent / "adapted8-v4"
    (folder / "manifest.json").unlink()
    np.save(folder / "embeddings.npy", np.zeros((2, 2), np.float16))
    assert np.array_equal(opened(config, bank).embeddings_NVD, whole_NVD)
    (folder / "manifest.json").unlink()

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(teacher_projection.Build, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        opened(config, bank)
    assert not (folder / "manifest.json").exists()


@pytest.mark.parametrize("name", ["embeddings", "centres", "weight"])
@pytest.mark.parametrize("length", [0, 60, None])
def test_damaged_cache_is_reported(config, bank, name, length):
    opened(config, bank)
    path = config.teacher_folder.parent / "adapted8-v4" / f"{name}.npy"
    whole = path.read_bytes()
    path.unlink() if length is None else path.write_bytes(whole[:length])
    with pytest.raises(ValueError, match=f"{name}.npy is missing or damaged"):
        opened(config, bank)


def test_invalid_recipes_are_rejected(config, bank):
    assert open_projected_cache(config, {"align": CosineRegression(), "off": BridgeDistillation(weight=0.0)}, bank, CPU) is bank
    with pytest.raises(ValueError, match="two terms have the teacher adapted"):
        projected_width({"one": BridgeDistillation(), "two": BridgeDistillation(width=4)}, bank)
    with pytest.raises(ValueError, match="the adapted width 9 is above the teacher's own, 8"):
        opened(config, bank, width=9)


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """Keys of a short run of the method, each with its own bank."""

    def make(**keys) -> dict:
        folder = tmp_path_factory.mktemp("mimic")
        terms = {"terms": {"adapted": "aird_plugin.losses.bridge_distillation:BridgeDistillation"}, "adapted_epochs": 3}
        # The caches that depend on no projection are shared with the other tests.
        (folder / "bank").mkdir()
        for part in ("teacher-v2", "low16-v2"):
            if (Path(tiny_run["bank"]) / part / "manifest.json").exists():
                (folder / "bank" / part).symlink_to(Path(tiny_run["bank"]) / part)
        own = {"bank": str(folder / "bank"), "output": str(folder / "out"), "frequent": 1}
        return {key: value for key, value in tiny_run.items() if not key.startswith("rid_")} | terms | own | keys

    return make


@pytest.mark.parametrize("width", [0, 4])
def test_student_learns_from_the_projected_teacher(run, pairs_file, width):
    recipe = from_flat(run(adapted_width=width, identity_weight=0.1, val_targets=(pairs_file,)))
    state = build_state(recipe)
    assert state.setup.embedding_size == state.setup.bank.dim == (width or 8)
    # The class centers start from the projected ones, and the term gets the projected embeddings.
    torch.testing.assert_close(state.head.weight.detach(), torch.from_numpy(np.array(state.setup.bank.centers_CD)))
    draw = state.setup.source.sampler.indices(0)
    expected_BD = state.setup.bank.embeddings_NVD[draw.rows_B, draw.views_B].astype(np.float32)
    assert np.array_equal(state.setup.source[0].teacher_BD.numpy(), expected_BD) and expected_BD.shape == (8, width or 8)
    # The teacher itself embeds the HR side only at its own width.
    assert {spec.protocol for spec in eval_specs(state.setup)} == ({"lr-lr"} if width else {"lr-lr", "lr-hr"})
    rows = metrics(train(recipe))
    assert rows[-1]["adapted"] < 0.9 * rows[0]["adapted"]
    assert rows[0]["loss"] == pytest.approx(0.1 * rows[0]["identity"] + 4 * rows[0]["adapted"], rel=1e-5)


def test_recipes_match_their_documentation():
    bridge, cosine, tiny, full = (
        load(recipe_path(RECIPES, f"{name}"))
        for name in ("faces15k_small_lr16_bridge", "faces15k_small_lr16_cosine", "faces15k_bridge_tiny_lr16", "bridge_tiny_lr16")
    )
    assert 2 * bridge.terms["adapted"].weight == cosine.terms["align"].weight and bridge.terms["adapted"].width == 0
    assert (bridge.run.identity_weight, bridge.head, bridge.schedule) == (
        cosine.run.identity_weight,
        cosine.head,
        cosine.schedule,
    )
    assert tiny.terms == bridge.terms and full.terms["adapted"].width == 128 and full.student.embedding_size == 0
    sizes = [sum(p.numel() for p in build(recipe.student.network, 128).parameters()) for recipe in (tiny, full)]
    assert all(abs(size - 210_000) <= 0.05 * 210_000 for size in sizes)


def test_online_and_bank_return_the_same_teacher_embeddings(run):
    keys = run()
    banked = build_state(from_flat(keys))
    online = build_state(from_flat(keys | {"online": True}))
    expected, found = banked.setup.source[1], online.setup.add_teacher_outputs(online.setup.source[1])
    torch.testing.assert_close(found.teacher_BD, F.normalize(expected.teacher_BD.float()), rtol=0, atol=2e-3)


def test_student_width_other_than_the_projected_one_is_rejected(run):
    with pytest.raises(ValueError, match="embedding_size=8, but the teacher's is 4"):
        build_state(from_flat(run(adapted_width=4, embedding_size=8)))


def test_losses_of_batch_parts_average_to_the_whole():
    """Data parallel ranks average a mean over images."""
    student_BD = torch.randn(8, 4, requires_grad=True)
    adapted_BD = torch.randn(8, 4)
    parts = [mimic_loss(student_BD[part], adapted_BD[part]) for part in (slice(0, 4), slice(4, 8))]
    whole = mimic_loss(student_BD, adapted_BD)
    torch.testing.assert_close(sum(parts) / 2, whole)
    torch.testing.assert_close(*(torch.autograd.grad(x, student_BD)[0] for x in (sum(parts) / 2, whole)))
