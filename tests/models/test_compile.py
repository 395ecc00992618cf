"""`compile=True` passes the student to torch.compile, which must produce one graph without breaks."""

import pytest
import torch

from aird_plugin.models import build
from aird_plugin.models.onnx_network import OnnxNetwork
from tests.models.onnx_files import network, write_network
from tests.skips import needs


@pytest.mark.parametrize("name", ["native16_0.05m", "native16_0.05m_dw_prelu", "mfn", "mbf", "r18"])
def test_student_compiles_to_one_graph(name):
    """The eager backend traces and runs without a C++ compiler. fullgraph raises at the first graph break."""
    torch.compiler.reset()
    torch.manual_seed(0)
    student = build(name, 8).train()
    side = student.input_size
    compiled = torch.compile(student, backend="eager", fullgraph=True)
    x_B3SS = torch.randn(2, 3, side, side)
    compiled(x_B3SS).sum().backward()
    assert all(parameter.grad is not None for parameter in student.parameters() if parameter.requires_grad)


def test_onnx_student_compiles_to_one_graph(tmp_path):
    """With attention, a Reshape that depends on the batch size, and any batch size afterwards."""
    needs("onnx")
    needs("onnxruntime")
    torch.compiler.reset()
    student = OnnxNetwork(write_network(tmp_path / "attention.onnx", network("attention"))).train()
    compiled = torch.compile(student, backend="eager", fullgraph=True)
    for batch in (2, 3):
        x_B3SS = torch.randn(batch, 3, 112, 112)
        torch.testing.assert_close(compiled(x_B3SS), student(x_B3SS))
    compiled(torch.randn(2, 3, 112, 112)).sum().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
