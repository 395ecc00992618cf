"""The adapted part of the bank: what the adapter learns, and that no other adapter's or half-written arrays are ever read."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from aird_plugin import teacher_adapter
from aird_plugin.assemble import assemble
from aird_plugin.data.bank import BankConfig, TeacherBank
from aird_plugin.data.neighbours import class_means
from aird_plugin.evaluation.during import questions
from aird_plugin.loop import train
from aird_plugin.losses.adapted import Adapted, mimic_loss
from aird_plugin.losses.alignment import Alignment
from aird_plugin.models import build
from aird_plugin.recipe import from_flat, load
from aird_plugin.teacher_adapter import AdaptedBank, open_taught_bank, taught_width, train_adapter

CPU = torch.device("cpu")
RECIPES = Path(__file__).parents[1] / "recipes"
PEOPLE, FACES, VIEWS, WIDTH = 40, 6, 4, 8
QUICK = {"epochs": 150, "lr": 0.02}


@pytest.fixture
def config(tmp_path):
    return BankConfig(bank=str(tmp_path), views=VIEWS)


@pytest.fixture
def bank(config):
    """People told apart by the first four axes; the last four, nearly as loud, say something of the photo alone."""
    return write_bank(config.teacher_folder, np.random.default_rng(0))


def write_bank(folder: Path, rng) -> TeacherBank:
    person_N = np.arange(PEOPLE).repeat(FACES).astype(np.int32)
    signal_ND = rng.normal(size=(PEOPLE, 4))[person_N]
    photos_NVD = rng.normal(size=(len(person_N), VIEWS, 4)) * 0.9
    raw_NVD = np.concatenate([np.broadcast_to(signal_ND[:, None], photos_NVD.shape), photos_NVD], 2)
    embeddings_NVD = raw_NVD / np.linalg.norm(raw_NVD, axis=2, keepdims=True)
    mean_ND = embeddings_NVD.mean(1).astype(np.float32)
    arrays = {
        "embeddings": embeddings_NVD.astype(np.float16), "centres": class_means(mean_ND, person_N, PEOPLE), "person": person_N,
        "same": np.zeros((len(person_N), 1), np.int32), "hard": np.zeros((len(person_N), 1), np.int32),
    }  # fmt: skip
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return TeacherBank(folder, {"inputs": {"records": "abc"}, "sha256": {}})


def opened(config, bank, **keys) -> TeacherBank:
    return open_taught_bank(config, {"adapted": Adapted(**QUICK | keys)}, bank, CPU)


def separation(embeddings_NVD) -> float:
    """Mean cosine of two faces of a person less that of two people."""
    x_ND = F.normalize(torch.from_numpy(np.array(embeddings_NVD[:, 0]).astype(np.float32)), dim=1)
    cosine_NN, person_N = x_ND @ x_ND.T, torch.arange(PEOPLE).repeat_interleave(FACES)
    same_NN = (person_N[:, None] == person_N) & ~torch.eye(len(x_ND), dtype=torch.bool)
    return (cosine_NN[same_NN].mean() - cosine_NN[person_N[:, None] != person_N].mean()).item()


@pytest.mark.parametrize("width", [0, 4])
def test_it_learns_what_tells_people_apart_and_people_it_never_met_profit(config, bank, tmp_path, width):
    adapted = opened(config, bank, width=width, closeness=1.0)
    assert separation(adapted.embeddings_NVD) > 1.5 * separation(bank.embeddings_NVD)
    others = write_bank(tmp_path / "others", np.random.default_rng(1))
    unseen_NVD = adapted.as_taught(torch.from_numpy(others.embeddings_NVD.astype(np.float32))).numpy()
    assert separation(unseen_NVD) > 1.3 * separation(others.embeddings_NVD)


def test_the_part_holds_what_it_promises(config, bank):
    adapted = opened(config, bank, width=4)
    assert isinstance(adapted, AdaptedBank) and adapted.dim == 4
    assert adapted.embeddings_NVD.shape == (PEOPLE * FACES, VIEWS, 4) and adapted.embeddings_NVD.dtype == np.float16
    assert adapted.centres_CD.shape == (PEOPLE, 4) and adapted.weight_ED.shape == (4, WIDTH)
    np.testing.assert_allclose(np.linalg.norm(adapted.embeddings_NVD.astype(np.float32), axis=2), 1, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(adapted.centres_CD, axis=1), 1, atol=1e-5)
    # The centres are where the person's faces are.
    nearest = (adapted.embeddings_NVD.astype(np.float32).mean(1) @ adapted.centres_CD.T).argmax(1)
    assert (nearest == adapted.person_N).mean() > 0.9
    # Who is near whom stays the teacher's own word, and the teacher's half is left as it was.
    assert adapted.same_NS is bank.same_NS and adapted.hard_NK is bank.hard_NK and bank.dim == WIDTH
    files = {path.name for path in (config.teacher_folder.parent / "adapted4-v4").iterdir()}
    assert files == {"embeddings.npy", "centres.npy", "weight.npy", "manifest.json"}


def test_what_the_teacher_says_online_is_adapted_alike(config, bank):
    adapted = opened(config, bank)
    online_BD = adapted.as_taught(7 * torch.from_numpy(bank.embeddings(np.array([3, 5]), np.array([0, 2]))))
    stored_BD = torch.from_numpy(adapted.embeddings(np.array([3, 5]), np.array([0, 2])))
    torch.testing.assert_close(online_BD, stored_BD, rtol=0, atol=1e-3)
    assert bank.as_taught(online_BD) is online_BD


def test_an_adapter_that_may_not_move_is_the_teacher(config, bank):
    still = opened(config, bank, lr=1e-12)
    torch.testing.assert_close(still.weight_ED, torch.eye(WIDTH))
    np.testing.assert_allclose(still.embeddings_NVD, bank.embeddings_NVD, atol=1e-3)


def test_a_narrow_one_starts_from_the_main_directions(config, bank):
    weight_ED, _ = train_adapter(bank, Adapted(lr=1e-12, epochs=1), 4, CPU)
    torch.testing.assert_close(weight_ED @ weight_ED.T, torch.eye(4), atol=1e-5, rtol=0)
    known_XD = torch.from_numpy(bank.embeddings_NVD.astype(np.float32)).reshape(-1, WIDTH)
    most = torch.linalg.svdvals(known_XD)[:4].square().sum()
    torch.testing.assert_close((known_XD @ weight_ED.T).square().sum(), most, rtol=1e-4, atol=0)


def test_closeness_holds_it_to_the_teacher(bank):
    def drift(closeness: float) -> float:
        weight_ED, _ = train_adapter(bank, Adapted(closeness=closeness, **QUICK), WIDTH, CPU)
        known_XD = torch.from_numpy(bank.embeddings_NVD[:, 0].astype(np.float32))
        return (1 - F.cosine_similarity(known_XD @ weight_ED.T, known_XD)).mean().item()

    assert drift(1000.0) < 0.2 * drift(0.0)


def test_it_is_a_function_of_the_seed(bank):
    one, again, other = (train_adapter(bank, Adapted(epochs=2, seed=seed), WIDTH, CPU) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], other[0])


def test_it_is_trained_once_and_the_students_keys_do_not_matter(config, bank, monkeypatch):
    first = opened(config, bank)
    monkeypatch.setattr(teacher_adapter, "train_adapter", None)
    again = opened(config, bank, weight=1.0, warmup_epochs=2.0)
    assert np.array_equal(first.embeddings_NVD, again.embeddings_NVD) and torch.equal(first.weight_ED, again.weight_ED)


def test_another_adapters_part_is_refused_by_name(config, bank):
    opened(config, bank)
    with pytest.raises(ValueError, match=r"adapted8-v4 is stale: closeness was 1.0, now 3.0"):
        opened(config, bank, closeness=3.0)
    bank.manifest["inputs"]["records"] = "def"
    with pytest.raises(ValueError, match="is stale: teacher_half was"):
        opened(config, bank)


def test_a_part_that_was_never_finished_is_not_read(config, bank, monkeypatch):
    whole_NVD = np.array(opened(config, bank).embeddings_NVD)
    folder = config.teacher_folder.parent / "adapted8-v4"
    (folder / "manifest.json").unlink()
    np.save(folder / "embeddings.npy", np.zeros((2, 2), np.float16))
    assert np.array_equal(opened(config, bank).embeddings_NVD, whole_NVD)
    (folder / "manifest.json").unlink()

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(teacher_adapter.Build, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        opened(config, bank)
    assert not (folder / "manifest.json").exists()


@pytest.mark.parametrize("name", ["embeddings", "centres", "weight"])
@pytest.mark.parametrize("length", [0, 60, None])
def test_a_torn_part_is_told(config, bank, name, length):
    opened(config, bank)
    path = config.teacher_folder.parent / "adapted8-v4" / f"{name}.npy"
    whole = path.read_bytes()
    path.unlink() if length is None else path.write_bytes(whole[:length])
    with pytest.raises(ValueError, match=f"{name}.npy is missing or damaged"):
        opened(config, bank)


def test_recipes_that_cannot_be(config, bank):
    assert open_taught_bank(config, {"align": Alignment(), "off": Adapted(weight=0.0)}, bank, CPU) is bank
    with pytest.raises(ValueError, match="two terms have the teacher adapted"):
        taught_width({"one": Adapted(), "two": Adapted(width=4)}, bank)
    with pytest.raises(ValueError, match="the adapted width 9 is above the teacher's own, 8"):
        opened(config, bank, width=9)


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A short run of the method, each in a bank of its own."""

    def make(**keys) -> dict:
        folder = tmp_path_factory.mktemp("mimic")
        terms = {"terms": {"adapted": "aird_plugin.losses.adapted:Adapted"}, "adapted_epochs": 3}
        # The parts that depend on no adapter are shared with the other tests.
        (folder / "bank").mkdir()
        for part in ("teacher-v2", "low16-v2"):
            if (Path(tiny_run["bank"]) / part / "manifest.json").exists():
                (folder / "bank" / part).symlink_to(Path(tiny_run["bank"]) / part)
        own = {"bank": str(folder / "bank"), "output": str(folder / "out"), "frequent": 1}
        return {key: value for key, value in tiny_run.items() if not key.startswith("rid_")} | terms | own | keys

    return make


@pytest.mark.parametrize("width", [0, 4])
def test_a_student_learns_from_the_adapted_teacher(run, pairs_file, width):
    recipe = from_flat(run(adapted_width=width, identity_weight=0.1, val_targets=(pairs_file,)))
    training = assemble(recipe)
    assert training.embedding_size == training.bank.dim == (width or 8)
    # The class centres start from the adapted ones, and the term sees the adapted embeddings.
    torch.testing.assert_close(training.head.weight.detach(), torch.from_numpy(np.array(training.bank.centres_CD)))
    draw = training.source.plan.draw(0)
    expected_BD = training.bank.embeddings_NVD[draw.rows_B, draw.views_B].astype(np.float32)
    assert np.array_equal(training.source[0].teacher_BD.numpy(), expected_BD) and expected_BD.shape == (8, width or 8)
    # The teacher itself can serve the high side only in its own width.
    assert {question.protocol for question in questions(training)} == ({"lr-lr"} if width else {"lr-lr", "lr-hr"})
    told = [json.loads(line) for line in (train(recipe) / "metrics.jsonl").read_text().splitlines()]
    assert told[-1]["adapted"] < 0.9 * told[0]["adapted"]
    assert told[0]["loss"] == pytest.approx(0.1 * told[0]["identity"] + 4 * told[0]["adapted"], rel=1e-5)


def test_the_recipes_say_what_their_pages_say():
    bridge, cosine, tiny, full = (
        load(RECIPES / f"{name}.py")
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


def test_online_and_bank_teach_the_same(run):
    keys = run()
    banked = assemble(from_flat(keys))
    online = assemble(from_flat(keys | {"online": True}))
    expected, found = banked.source[1], online.ask_teacher(online.source[1])
    torch.testing.assert_close(found.teacher_BD, F.normalize(expected.teacher_BD.float()), rtol=0, atol=2e-3)


def test_a_width_of_the_students_own_is_refused(run):
    with pytest.raises(ValueError, match="embedding_size=8, but the teacher's is 4"):
        assemble(from_flat(run(adapted_width=4, embedding_size=8)))


def test_parts_of_a_batch_average_to_the_whole():
    """What data parallel ranks do to a mean over faces."""
    student_BD = torch.randn(8, 4, requires_grad=True)
    adapted_BD = torch.randn(8, 4)
    parts = [mimic_loss(student_BD[part], adapted_BD[part]) for part in (slice(0, 4), slice(4, 8))]
    whole = mimic_loss(student_BD, adapted_BD)
    torch.testing.assert_close(sum(parts) / 2, whole)
    torch.testing.assert_close(*(torch.autograd.grad(x, student_BD)[0] for x in (sum(parts) / 2, whole)))
