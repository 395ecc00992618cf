"""The precision of a run: half precision only where the device computes it faster than float32."""

import pytest
import torch

from aird_plugin.utils import devices
from aird_plugin.utils.devices import autocast_dtype


@pytest.mark.parametrize(
    ("device", "bf16", "fp16", "cpu_has_bf16", "expected"),
    [
        ("cuda", True, False, False, torch.bfloat16),
        ("cuda", False, True, False, torch.float16),
        ("cuda", False, False, True, None),
        ("cpu", True, False, True, torch.bfloat16),
        ("cpu", True, False, False, None),
        ("cpu", False, True, True, None),
    ],
)
def test_half_precision_where_the_device_has_it(monkeypatch, device, bf16, fp16, cpu_has_bf16, expected):
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: cpu_has_bf16)
    assert autocast_dtype(device, bf16, fp16) is expected


def test_this_cpu_is_asked():
    assert devices.cpu_has_bf16() is torch.ops.mkldnn._is_mkldnn_bf16_supported()
