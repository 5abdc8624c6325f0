"""Two programs compared by their operations: same means same to the bit, anything else unknown."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import dscwb
from dscwb.capturing.same import same_operations

W = torch.randn(4, 4)
STEPS = {
    "relu": lambda x: x.relu(),
    "double": lambda x: x * 2,
    "triple": lambda x: x * 3,
    "in place": lambda x: x.clone().add_(1),
    "slice written": lambda x: x.clone().index_fill_(1, torch.tensor([1]), 0.5),
    "matrix": lambda x: x @ W,
    "turned": lambda x: x.transpose(0, 1).transpose(0, 1),
    "halves": lambda x: torch.cat([x[:, 2:], x[:, :2]], 1),
    "same twice": lambda x: x + x,
}


def run(names, x):
    for name in names:
        x = STEPS[name](x)
    return x


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([*STEPS]), max_size=5), st.lists(st.sampled_from([*STEPS]), max_size=5)
)
def test_what_is_called_the_same_is_equal_to_the_bit(some, others):
    x = torch.randn(3, 4)
    if same_operations(lambda: run(some, x), lambda: run(others, x)):
        assert torch.equal(run(some, x), run(others, x))
    if some == others and "slice written" not in some:
        assert same_operations(lambda: run(some, x), lambda: run(others, x))


@pytest.mark.parametrize(
    "other",
    [
        lambda x, y: (x - y, 1),
        lambda x, y: (y - x, 2),
        lambda x, y: (x - x, 1),
        lambda x, y: (x - y.clone(), 1),
        lambda x, y: (x + y * -1, 1),
        lambda x, y: x - y,
    ],
)
def test_another_order_operand_or_result_is_another_program(other):
    x, y = torch.randn(2, 3), torch.randn(2, 3)
    assert same_operations(lambda: (y - x, 1), lambda: (y - x, 1))
    assert not same_operations(lambda: (y - x, 1), lambda: other(x, y))


def test_random_numbers_values_and_written_weights_must_be_run():
    x, held = torch.randn(4), torch.zeros(4)
    for one in (
        lambda: x + torch.rand_like(x),
        lambda: x * 2 if x.sum() > 0 else x,
        lambda: held.add_(1) * x,
        lambda: x[x > 0],
    ):
        assert not same_operations(one, one)
    assert torch.equal(held, torch.zeros(4))


def test_equal_weights_in_other_memory_are_another_program():
    one, other = nn.Linear(4, 4), nn.Linear(4, 4)
    other.load_state_dict(one.state_dict())
    x = torch.randn(2, 4)
    assert same_operations(lambda: one(x), lambda: one(x))
    assert not same_operations(lambda: one(x), lambda: other(x))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_mambaout"])
def test_a_captured_network_runs_the_same_operations(name):
    import timm

    model = timm.create_model(name).eval()
    captured = dscwb.capture(model, 64, check=False)
    x = captured.inputs(1)
    assert same_operations(lambda: model(*x), lambda: captured.module(*x))
    with torch.no_grad():
        next(model.parameters()).mul_(2)  # shared: still the same
    assert same_operations(lambda: model(*x), lambda: captured.module(*x))


def test_a_large_model_that_treats_one_sample_differently_is_still_refused():
    class Large(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Conv2d(3, 64, 7)

        def forward(self, x):
            x = self.f(x)
            return x * 2 if x.shape[0] > 1 else x * 3

    with pytest.raises(dscwb.CaptureError, match="branches on the batch size"):
        dscwb.capture(Large().eval(), (3, 560, 560))
