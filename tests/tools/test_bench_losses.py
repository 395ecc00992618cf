import json
import sys

import pytest
import torch

from tools import bench_losses

SMALLEST = ["--turns", "1", "--batch", "4", "--classes", "12", "--negatives", "6", "--faces", "30", "--width", "8"]
SMALLEST += ["--threads", str(torch.get_num_threads())]
SPEEDS = ["DKD", "RKD, angles", "CRD"]

DKD = '''
"""A stand-in: DKD in probabilities."""
import torch

def parts(logits, target, temperature):
    p = torch.softmax(logits / temperature, 1)
    own = torch.nn.functional.one_hot(target, p.shape[1]).bool()
    return p[own], p[~own].view(len(p), -1)

def dkd_loss(student, teacher, target, alpha, beta, temperature):
    (own_s, others_s), (own_t, others_t) = (parts(x, target, temperature) for x in (student, teacher))
    rest_s, rest_t = others_s.sum(1), others_t.sum(1)
    binary = own_t * (own_t / own_s).log() + rest_t * (rest_t / rest_s).log()
    q_s, q_t = others_s / rest_s[:, None], others_t / rest_t[:, None]
    return (alpha * binary + beta * (q_t * (q_t / q_s).log()).sum(1)).mean() * temperature**2
'''
RKD = '''
"""A stand-in: angles from all differences."""
import torch.nn.functional as F

def angles(x):
    edges = F.normalize(x[None] - x[:, None], dim=2)
    return edges @ edges.transpose(1, 2)

def rkd_loss(student, teacher, distance_weight, angle_weight):
    assert distance_weight == 0
    return angle_weight * F.smooth_l1_loss(angles(student), angles(teacher))
'''
CRD = '''
"""A stand-in: a memory of each side, a row of negatives for each image."""
import torch
from torch import nn
import torch.nn.functional as F

class Embed(nn.Module):
    def __init__(self, width, code):
        super().__init__()
        self.linear = nn.Linear(width, code)

class CRDLoss(nn.Module):
    def __init__(self, opt):
        super().__init__()
        torch.zeros(1).cuda()
        self.opt, self.contrast, self.norm = opt, nn.Module(), {}
        self.embed_s, self.embed_t = Embed(opt.s_dim, opt.feat_dim), Embed(opt.t_dim, opt.feat_dim)
        for name in ("memory_v1", "memory_v2"):
            self.contrast.register_buffer(name, F.normalize(torch.randn(opt.n_data, opt.feat_dim), dim=1))

    def forward(self, f_s, f_t, idx, contrast_idx):
        print("noise")
        codes = F.normalize(self.embed_s.linear(f_s), dim=1), F.normalize(self.embed_t.linear(f_t), dim=1)
        assert (contrast_idx[:, 0] == idx).all() and contrast_idx.shape == (len(idx), 1 + self.opt.nce_k)
        return sum(self.side(code, name, contrast_idx) for code, name in zip(codes, ("memory_v2", "memory_v1")))

    def side(self, code, name, contrast_idx):
        scores = (getattr(self.contrast, name)[contrast_idx] @ code[:, :, None])[:, :, 0].div(self.opt.nce_t).exp()
        scores = scores / self.norm.setdefault(name, scores.detach().mean())
        noise = self.opt.nce_k
        return -((scores[:, 0] / (scores[:, 0] + noise)).log() + (noise / (scores[:, 1:] + noise)).log().sum(1)).mean()
'''


@pytest.fixture
def checkouts(tmp_path):
    """Command-line options for both checkouts; modules imported from them are removed afterwards."""
    for name, text in {"mdistiller/distillers/DKD": DKD, "mdistiller/distillers/RKD": RKD, "crd/criterion": CRD}.items():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    yield ["--mdistiller", str(tmp_path), "--repdistiller", str(tmp_path)]
    for name in [name for name in sys.modules if name.split(".")[0] in ("mdistiller", "crd")]:
        del sys.modules[name]


@pytest.mark.slow
def test_speed_gradient_and_probe_rows(checkouts, tmp_path, capsys):
    out = tmp_path / "rows.json"
    before = torch.Tensor.cuda
    assert bench_losses.main([*checkouts, *SMALLEST, "--json", str(out)]) == 0
    rows = {row["what"]: row for row in json.loads(out.read_text())}
    gradients = [f"{what}, gradient difference" for what in SPEEDS]
    assert set(rows) == {*SPEEDS, *gradients, "DKD, finite of 15 probes"}
    assert [rows[what]["target"] for what in SPEEDS] == [2, 8, 10]
    assert all(0 <= rows[what]["ratio"] < 1e-5 for what in gradients), rows
    assert rows["DKD, finite of 15 probes"]["ratio"] == 15
    assert "theirs 15" not in rows["DKD, finite of 15 probes"]["detail"]
    printed = capsys.readouterr()
    assert "noise" not in printed.out and "| CRD |" in printed.out and "skipped" not in printed.err
    assert torch.Tensor.cuda is before and not set(checkouts) & set(sys.path)


def test_skipped_rows_are_reported(capsys):
    assert bench_losses.main(SMALLEST) == 0
    assert [line.split(" is skipped")[0] for line in capsys.readouterr().err.splitlines()] == ["DKD", "RKD", "CRD"]


def test_folder_without_the_module_is_rejected(tmp_path, capsys):
    assert bench_losses.main(["--mdistiller", str(tmp_path), *SMALLEST]) == 1
    assert "is not a checkout with mdistiller.distillers.DKD" in capsys.readouterr().err


def test_gradient_difference_is_relative():
    x = torch.tensor([3.0, 4.0], requires_grad=True)
    assert bench_losses.difference(1.5 * x.square().sum(), x.square().sum(), x) == pytest.approx(0.5)
