"""Names of devices and precisions, and what `auto` chooses."""

import pytest
import torch

from stages.common import device as device_module
from stages.common.device import DeviceError, choose_device, choose_precision, repeatable
from stages.extract.encoders import load_multiscale


@pytest.mark.parametrize("name", ["tpu", "meta", "cuda:99", "cpu:x", ""])
def test_a_device_that_cannot_compute_here_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match=rf"device '{name}' cannot be used here: .*; try auto or cpu"):
        choose_device(name)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(DeviceError, match="precision 'fp8' is unknown; expected auto, fp32 or bf16"):
        choose_precision("fp8", torch.device("cpu"))


@pytest.mark.parametrize("available", [True, False])
def test_the_automatic_device_is_the_gpu_if_available(available: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert choose_device("auto").type == ("cuda" if available else "cpu")


@pytest.mark.parametrize(
    ("hardware", "width", "precision"),
    [(True, None, "bf16"), (True, 256, "bf16"), (True, 255, "fp32"), (False, None, "fp32"), (False, 256, "fp32")],
)
def test_automatic_precision_is_bf16_for_wide_models_on_hardware_with_bf16(
    hardware: bool, width: int | None, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module, "has_bf16", lambda device: hardware)
    assert choose_precision("auto", torch.device("cpu"), width=width) == precision


def test_encoders_take_the_automatic_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "has_bf16", lambda device: True)
    encoders = load_multiscale(preset="tiny", streams=("muq/track",), device="cpu", precision="auto")
    assert encoders.precision == "bf16"


def test_ctrl_c_while_torch_imports_its_modules_is_not_followed_by_another_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def imports_more(*arguments: object, **options: object) -> None:
        raise AttributeError("module 'sympy' has no attribute 'core'")

    monkeypatch.setattr(torch, "use_deterministic_algorithms", imports_more)
    with pytest.raises(KeyboardInterrupt, match="in an import"), repeatable(0, torch.device("cpu")):
        raise KeyboardInterrupt("in an import")
