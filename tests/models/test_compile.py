"""`compile=True` passes the student to torch.compile, which must produce one graph without breaks."""

import pytest
import torch

from aird_plugin.models import build


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
