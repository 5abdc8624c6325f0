"""FLOPs by hand, against a second counter, and unknown where nobody counts them."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from dscwb.capturing.captured import capture
from dscwb.devices.roofline import model_profile


class Calls(nn.Module):
    def __init__(self, forward, *modules):
        super().__init__()
        self.inner = nn.ModuleList(modules)
        self.run = forward

    def forward(self, x):
        return self.run(*self.inner, x)


def flops(forward, *shape, modules=()):
    return capture(Calls(forward, *modules).eval(), shape, check=False).graph.flops


# Recurrent layers

T, IN, H = 7, 5, 6


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_by_hand(kind, gates):
    """Each gate multiplies the input and the hidden state by a matrix at every step."""
    one = kind(IN, H, batch_first=True)
    assert flops(lambda m, x: m(x)[0], T, IN, modules=[one]) == 2 * T * gates * H * (IN + H)
    both = kind(IN, H, 2, batch_first=True, bidirectional=True)
    first, second = gates * H * (IN + H), gates * H * (2 * H + H)
    assert flops(lambda m, x: m(x)[0], T, IN, modules=[both]) == 2 * T * 2 * (first + second)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_a_projected_lstm_by_hand():
    projected = nn.LSTM(IN, H, batch_first=True, proj_size=2)
    wanted = 2 * T * (4 * H * (IN + 2) + 2 * H)
    assert flops(lambda m, x: m(x)[0], T, IN, modules=[projected]) == wanted


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTMCell, 4), (nn.GRUCell, 3), (nn.RNNCell, 1)])
def test_recurrent_cells_by_hand(kind, gates):
    def forward(cell, x):
        new = cell(x)
        return new[0] if isinstance(new, tuple) else new

    assert flops(forward, IN, modules=[kind(IN, H)]) == 2 * gates * H * (IN + H)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_by_a_second_counter(kind):
    """On the meta device torch takes the layer apart, into products that its counter knows."""
    layer = kind(IN, H, 3, batch_first=True, bidirectional=True)
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        layer.to("meta")(torch.empty(1, T, IN))
    fresh = kind(IN, H, 3, batch_first=True, bidirectional=True)
    assert flops(lambda m, x: m(x)[0], T, IN, modules=[fresh]) == counter.get_total_flops()


# Fourier transforms


def operations_of_a_transform(values):
    """A radix-2 transform carried out, with the number of real operations that it took."""
    n = len(values)
    if n == 1:
        return values, 0
    even, first = operations_of_a_transform(values[0::2])
    odd, second = operations_of_a_transform(values[1::2])
    turned = np.exp(-2j * np.pi * np.arange(n // 2) / n) * odd  # 6 operations each
    return np.concatenate([even + turned, even - turned]), first + second + n // 2 * (6 + 2 * 2)


@pytest.mark.parametrize("n", [8, 64])
def test_a_complex_transform_takes_what_a_radix_2_transform_takes(n):
    values = np.random.default_rng(0).normal(size=n) + 0j
    result, wanted = operations_of_a_transform(values)
    np.testing.assert_allclose(result, np.fft.fft(values))
    assert wanted == 5 * n * math.log2(n)

    def forward(x):
        return torch.fft.fft(torch.complex(x, x)).abs()

    assert flops(forward, 3, n) == 3 * wanted


def test_real_transforms_take_half_and_two_axes_the_length_of_both():
    half = 2.5 * 16 * 16 * math.log2(16 * 16)
    assert flops(lambda x: torch.fft.rfft2(x).abs(), 3, 16, 16) == 3 * half
    assert flops(lambda x: torch.fft.irfft2(torch.fft.rfft2(x)), 3, 16, 16) == 2 * 3 * half
    assert flops(lambda x: torch.fft.fftshift(x), 16) == 0


def test_a_spectrogram_is_a_transform_a_frame():
    def forward(x):
        window = torch.hann_window(16)
        return torch.stft(x, 16, 8, window=window, center=False, return_complex=True).abs()

    assert flops(forward, 64) == 7 * 2.5 * 16 * math.log2(16)


# Resampling


@pytest.mark.parametrize(
    ("mode", "axes", "taps"),
    [
        ("nearest", 2, 0),
        ("nearest-exact", 2, 0),
        ("linear", 1, 2),
        ("bilinear", 2, 4),
        ("trilinear", 3, 8),
        ("bicubic", 2, 16),
    ],
)
def test_resampling_by_taps(mode, axes, taps):
    """The taps are found by asking which inputs one output in the middle depends on."""
    if taps:
        found = max(taps_of(mode, axes, place) for place in range(3, 8))
        assert found == taps

    def forward(x):
        return functional.interpolate(x, size=[11] * axes, mode=mode)

    assert flops(forward, 3, *[8] * axes) == 2 * taps * 3 * 11**axes


def taps_of(mode, axes, place):
    x = torch.zeros(1, 1, *[8] * axes, requires_grad=True)
    functional.interpolate(x, size=[11] * axes, mode=mode)[(0, 0, *[place] * axes)].backward()
    return int((x.grad != 0).sum())


def test_antialiased_resampling_works_along_one_axis_after_the_other():
    def forward(x):
        return functional.interpolate(x, size=(4, 8), mode="bilinear", antialias=True)

    # 16 by 16 to 4 by 8: 4 taps for each of 16 by 8, then 8 taps for each of 4 by 8.
    assert flops(forward, 3, 16, 16) == 2 * 3 * (4 * 16 * 8 + 8 * 4 * 8)


def test_sampling_at_a_grid_weighs_four_neighbours():
    def forward(x):
        grid = functional.affine_grid(
            torch.eye(2, 3).expand(x.shape[0], 2, 3), x.shape, align_corners=False
        )
        return functional.grid_sample(x, grid, align_corners=False)

    assert flops(forward, 3, 5, 6) == 2 * 4 * 3 * 30 + 2 * 3 * 2 * 30


# Products that torch's counter alone does not see


@pytest.mark.parametrize(
    ("forward", "wanted"),
    [
        (lambda x: x @ torch.ones(6), 2 * 5 * 6),
        (lambda x: torch.tensordot(x, torch.ones(6, 3), dims=1), 2 * 5 * 6 * 3),
        (lambda x: torch.inner(x, torch.ones(4, 6)), 2 * 5 * 6 * 4),
        (lambda x: torch.einsum("bij,bkj->bik", x, x), 2 * 5 * 5 * 6),
        (lambda x: torch.einsum("bij->bi", x), 0),
        (lambda x: functional.bilinear(x, x, torch.ones(3, 6, 6)), 5 * 2 * (3 * 36 + 3 * 6)),
        (lambda x: torch.cdist(x, x), 3 * 25 * 6),
        (lambda x: x.softmax(-1).cummax(-1).values.lgamma(), 0),
    ],
)
def test_products_by_hand(forward, wanted):
    assert flops(forward, 5, 6) == wanted


def test_a_transformer_layer_counts_what_its_parts_count():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    products = 2 * 5 * 8 * (3 * 8 + 8 + 16 + 16) + 2 * 2 * 5 * 5 * 8
    assert flops(lambda m, x: m(x), 5, 8, modules=[layer]) == products


# Unknown


@torch.library.custom_op("dscwb_tests::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@twice.register_fake
def _(x):
    return torch.empty_like(x)


@pytest.mark.parametrize(
    ("forward", "name"),
    [
        (lambda m, x: twice(m(x)), "twice"),
        (lambda m, x: torch.linalg.inv(m(x)), "linalg_inv"),
        (lambda m, x: torch.linalg.svdvals(m(x)), "linalg_svd"),
        (lambda m, x: torch.matrix_exp(m(x)), "matrix_exp"),
    ],
)
def test_what_nobody_counts_is_unknown_and_not_modelled(forward, name):
    captured = capture(Calls(forward, nn.Linear(4, 4)).eval(), (4, 4))
    first, *_ = captured.graph.layers
    assert (first.op, first.flops) == ("linear", 2 * 4 * 4 * 4)
    assert captured.graph.flops is None
    assert len(captured.graph.fingerprint()) == 16
    with pytest.raises(ValueError, match=rf"Nobody knows the FLOPs of {name}.* dscwb\.profile"):
        model_profile(captured.graph, "T4", [1])


def test_no_modelled_time_lies_below_the_peak():
    model = Calls(
        lambda m, f, x: f(m(x)[0][:, -1]), nn.LSTM(8, 64, 2, batch_first=True), nn.Linear(64, 5)
    ).eval()
    graph = capture(model, (50, 8)).graph
    assert model_profile(graph, "T4", [1]).total_s(1) > graph.flops / 8.1e12
