"""float32 products are float32, whatever the user's settings allow."""

import threading

import pytest
import torch

from stages.common.device import exact_float32

CUDNN, MATMUL, GENERAL = torch.backends.cudnn, torch.backends.cuda.matmul, torch.backends


def older():
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # the newer settings contradict it
        return "unreadable"


def settings():
    return (
        older(),
        MATMUL.fp32_precision,
        CUDNN.conv.fp32_precision,
        torch.backends.mkldnn.matmul.fp32_precision,
        GENERAL.fp32_precision,
        CUDNN.benchmark,
        CUDNN.deterministic,
    )


@pytest.fixture(autouse=True)
def restored():
    before = settings()
    yield
    GENERAL.fp32_precision, CUDNN.benchmark = "none", False
    torch.set_float32_matmul_precision("highest")
    MATMUL.fp32_precision, CUDNN.conv.fp32_precision = before[1:3]
    torch.backends.mkldnn.matmul.fp32_precision = before[3]
    assert settings() == before


CHANGES = {
    "nothing": lambda: None,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "everything tf32": lambda: setattr(GENERAL, "fp32_precision", "tf32"),
    "products tf32": lambda: setattr(MATMUL, "fp32_precision", "tf32"),
    "convolutions ieee": lambda: setattr(CUDNN.conv, "fp32_precision", "ieee"),
    "timed kernels": lambda: setattr(CUDNN, "benchmark", True),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_settings_are_exact_inside_and_restored_afterwards(change):
    change()
    before = settings()
    with exact_float32():
        assert settings() == ("highest", "ieee", "ieee", "ieee", "none", False, True)
    assert settings() == before


def test_an_inherited_setting_stays_inherited():
    GENERAL.fp32_precision = "tf32"
    with exact_float32():
        pass
    assert MATMUL.fp32_precision == "tf32"
    GENERAL.fp32_precision = "none"
    assert MATMUL.fp32_precision == "none"


def test_products_are_exact_where_the_user_allows_bf16():
    left, right = (torch.randn(256, 256, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    exact = left @ right
    torch.set_float32_matmul_precision("medium")
    with exact_float32():
        assert torch.equal(left @ right, exact)


def test_the_last_thread_that_leaves_restores_the_settings():
    torch.set_float32_matmul_precision("high")
    inside, leave = threading.Event(), threading.Event()

    def other():
        with exact_float32():
            inside.set()
            leave.wait(10)

    with exact_float32():
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(10)
    assert torch.get_float32_matmul_precision() == "highest"
    leave.set()
    thread.join()
    assert torch.get_float32_matmul_precision() == "high"
