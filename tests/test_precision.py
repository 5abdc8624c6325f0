import warnings

import pytest
import torch

from dscwb.capturing import precision

SET_BY_THE_PROCESS = [
    "pass",
    "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
    "torch.backends.cudnn.rnn.fp32_precision = 'none'",
    "torch.backends.cudnn.fp32_precision = 'ieee'",
    "torch.backends.fp32_precision = 'tf32'",
    "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "torch.backends.cudnn.allow_tf32 = False",
    "torch.backends.cudnn.allow_tf32 = False; torch.backends.cudnn.conv.fp32_precision = 'tf32'",
    "torch.set_float32_matmul_precision('medium')",
]


@pytest.fixture(params=SET_BY_THE_PROCESS)
def _already_set(request):
    """The process has used one of torch's two interfaces, or both; afterwards as torch starts."""
    before = state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises against its older interface
        exec(request.param)
        yield
        torch.backends.fp32_precision = "none"
        torch.backends.cudnn.fp32_precision = "none"
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.fp32_precision = "none"
        torch.backends.mkldnn.matmul.fp32_precision = "none"
        torch.backends.cudnn.allow_tf32 = True
    assert state() == before


def state():
    """All that both interfaces tell, inherited and held; None where the older one refuses."""
    told = [one.fp32_precision for one in precision.SETTINGS]
    for ask in (
        lambda: torch.backends.cudnn.allow_tf32,
        lambda: torch.backends.cuda.matmul.allow_tf32,
        torch.get_float32_matmul_precision,
    ):
        try:
            told.append(ask())
        except RuntimeError:
            told.append(None)
    return told, precision.own_values()


def in_force():
    conv, matmul = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    return conv.fp32_precision, torch.backends.cudnn.rnn.fp32_precision, matmul.fp32_precision


@pytest.mark.usefixtures("_already_set")
@pytest.mark.parametrize(("on", "value"), [(True, "tf32"), (False, "ieee")])
def test_tf32_holds_inside_and_nothing_is_left_behind(on, value):
    before = state()
    with precision.tf32(on):
        assert in_force() == (value,) * 3
    assert state() == before
    with pytest.raises(ZeroDivisionError), precision.tf32(on):
        raise ZeroDivisionError
    assert state() == before


@pytest.mark.usefixtures("_already_set")
def test_the_older_interface_can_be_read_inside(tmp_path):
    before = state()
    with precision.readable():
        assert torch.backends.cudnn.allow_tf32 in (True, False)
    assert state() == before


def test_words():
    with precision.tf32(True):
        assert precision.in_words("float32") == "TF32 in convolutions and matrix products"
        assert precision.in_words("float16") == ""
    with precision.tf32(False):
        assert precision.in_words("float32") == "TF32 off"
        torch.backends.cudnn.conv.fp32_precision = "tf32"
        assert precision.in_words("float32") == "TF32 in convolutions"
