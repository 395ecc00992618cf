"""The first forward pass of a translated graph: an operation that fails is named as the file names it."""

from pathlib import Path
from typing import Any

from torch import Tensor, fx

from aird_plugin.models.onnx_file import untrainable

# Key of an fx node's metadata: name and operator of the file's node.
ORIGIN = "onnx"
# What PyTorch raises for arguments that it does not support.
FAILURES = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def first_run(path: Path, module: fx.GraphModule, inputs_B: Tensor) -> Tensor:
    """The module's output. Raises ValueError with the file and its node where an operation fails."""
    run = _NamedRun(module)
    run.path, run.extra_traceback = path, False
    return run.run(inputs_B)


class _NamedRun(fx.Interpreter):
    path: Path

    def run_node(self, node: fx.Node) -> Any:
        try:
            return super().run_node(node)
        except FAILURES as error:
            raise untrainable(self.path, f"{node.meta.get(ORIGIN, node.name)}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """The first line of an error's text: PyTorch adds traces and hints below it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
