"""A device of 1 GFLOP/s and 1 GB/s: an operation takes as many nanoseconds as FLOPs or bytes."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dscwb.devices.datasheets import DEFAULT_EFFICIENCY, Device, Efficiency
from dscwb.devices.roofline import (
    FITTED_TIME_ERROR,
    bound_by,
    fit_efficiency,
    model_profile,
    op_classes,
    queued,
)
from dscwb.graph import Layer, ModelGraph, TensorSpec
from dscwb.profiles.files import load_profile, save_profile
from dscwb.profiles.library import scale_profile
from tests.tiny import profile_of, spec, tiny_graph

PERFECT = Efficiency(dense=1.0, depthwise=1.0, product=1.0, memory=1.0)


def toy(**changes):
    figures = {
        "name": "toy",
        "kind": "cpu",
        "peak_flop_per_s": {"float32": 1e9, "float16": 2e9},
        "bandwidth_bytes_per_s": 1e9,
        "memory_bytes": 1e9,
        "assumed_overhead_s": 1e-6,
        "source": "a test",
    }
    return Device(**(figures | changes))


def two_layers():
    """A 1 by 1 convolution from 4 to 8 channels on 10 by 10 positions, then a ReLU.

    Per sample the convolution does 2 · 4 · 800 = 6,400 FLOPs, reads 1,600 bytes and writes 3,200
    bytes; its 32 weights are 128 bytes. The ReLU reads and writes 3,200 bytes.
    """
    x, y, z = spec("x", 4, 10, 10), spec("y", 8, 10, 10), spec("z", 8, 10, 10)
    layers = (
        Layer("conv2d", "conv", ("x",), (y,), flops=6400, weight_bytes=128),
        Layer("relu", "act", ("y",), (z,)),
    )
    return ModelGraph("two", (x,), layers, ("z",))


def stamps_ns(graph, device, batch_size=1, efficiency=PERFECT, **options):
    profile = model_profile(graph, device, [batch_size], efficiency=efficiency, **options)
    return profile.passes[0].stamped_ns[0].tolist()


def test_the_slower_of_computing_and_moving_decides():
    """Computing 6,400 ns, moving 4,928 ns; the ReLU moves for 6,400 ns; 1,000 ns each to launch."""
    assert stamps_ns(two_layers(), toy()) == [0, 7400, 14800]
    quick = toy(peak_flop_per_s={"float32": 2e9})
    assert stamps_ns(two_layers(), quick) == [0, 4928 + 1000, 4928 + 7400 + 1000]


def test_weights_are_read_once_whatever_the_batch_size():
    """Five samples: 5 · 4,800 + 128 bytes, and 5 · 6,400 for the ReLU."""
    quick = toy(peak_flop_per_s={"float32": 1e12})
    assert stamps_ns(two_layers(), quick, 5) == [0, 24128 + 1000, 24128 + 32000 + 2000]
    assert stamps_ns(two_layers(), toy(), 5) == [0, 33000, 66000]


def test_shares_of_the_peak_stretch_the_times():
    """Convolution at half the peak 12,800 ns; at a quarter of the bandwidth 19,712 ns."""
    half = dataclasses.replace(PERFECT, dense=0.5, overhead_s=0.0)
    assert stamps_ns(two_layers(), toy(), efficiency=half) == [0, 12800, 19200]
    slow = dataclasses.replace(half, memory=0.25, depthwise=0.1, product=0.1)
    assert stamps_ns(two_layers(), toy(), efficiency=slow) == [0, 19712, 19712 + 25600]


def test_float16_halves_the_bytes_and_has_a_peak_of_its_own():
    """At 2 GFLOP/s 3,200 ns; the ReLU moves 3,200 bytes."""
    assert stamps_ns(two_layers(), toy(), dtype="float16") == [0, 4200, 8400]
    moving = toy(peak_flop_per_s={"float16": 1e12})
    assert stamps_ns(two_layers(), moving, dtype="float16") == [0, 3464, 7664]


def with_layer(layer, *inputs):
    return ModelGraph("one", inputs, (layer,), (layer.name,))


def chain(*ops):
    """Layers of 100 floats each: what is called a view is one, the others move 800 bytes."""
    names = [f"t{k}" for k in range(len(ops) + 1)]
    layers = tuple(
        Layer(op, "", (before,), (spec(after, 100),), view_of=before if op == "view" else None)
        for op, (before, after) in zip(ops, pairwise(names), strict=True)
    )
    return ModelGraph("chain", (spec("t0", 100),), layers, (names[-1],))


def test_a_view_costs_its_launch_on_a_cpu_and_a_quarter_of_it_on_a_gpu():
    """On the GPU the host has launched the ReLU at 1,000 ns and the view at 1,250."""
    assert stamps_ns(chain("relu", "view"), toy()) == [0, 1800, 2800]
    assert stamps_ns(chain("relu", "view"), toy(kind="gpu")) == [0, 1800, 1800]
    assert stamps_ns(chain("view", "relu"), toy(kind="gpu")) == [0, 250, 2050]
    assert stamps_ns(chain("dropout", "relu"), toy(kind="gpu")) == [0, 250, 2050]


def test_a_gpu_works_while_the_host_launches():
    """A ReLU works for 800 ns; launched at 1,000, 2,000 and 3,000 ns it waits for its launch, and
    launched at 500, 1,000 and 1,500 ns for the one before. A kernel takes 200 ns beside its work.
    """
    graph, gpu = chain("relu", "relu", "relu"), toy(kind="gpu")
    assert stamps_ns(graph, gpu) == [0, 1800, 2800, 3800]
    quick = dataclasses.replace(PERFECT, overhead_s=5e-7)
    assert stamps_ns(graph, gpu, efficiency=quick) == [0, 1300, 2100, 2900]
    started = dataclasses.replace(quick, kernel_s=2e-7)
    assert stamps_ns(graph, gpu, efficiency=started) == [0, 1500, 2500, 3500]
    assert stamps_ns(graph, toy(), efficiency=started) == [0, 1300, 2600, 3900]


times = st.lists(st.tuples(*[st.floats(0, 1e3)] * 2), min_size=1, max_size=30)


@given(layers=times)
def test_a_queue_is_the_two_clocks_of_host_and_gpu(layers):
    launch_s, kernel_s = np.array(layers).T
    host = gpu = 0.0
    finished = []
    for launch, kernel in layers:
        host += launch
        gpu = max(gpu, host) + kernel
        finished.append(gpu)
    np.testing.assert_allclose(np.cumsum(queued(launch_s, kernel_s)), finished, atol=1e-9)


def test_launches_of_no_time_leave_the_kernels_and_kernels_of_no_time_the_launches():
    some, none = np.array([3.0, 1.0, 2.0]), np.zeros(3)
    assert queued(none, some).tolist() == queued(some, none).tolist() == some.tolist()
    assert queued(np.ones(3), np.ones(3)).tolist() == [2, 1, 1]  # ready just as the next arrives


def test_large_outputs_get_new_pages_on_a_cpu():
    """A sample of 16 MiB: at batch size 3 its 48 MiB are touched anew, not so in place."""
    size = 16 * 2**20
    x, y = spec("x", size // 4), spec("y", size // 4)
    touch = dataclasses.replace(PERFECT, first_touch_bytes_per_s=0.5e9)
    moved, fresh = 2 * 3 * size, 2 * 3 * size
    for op, kind, extra in [("relu", "cpu", fresh), ("relu_", "cpu", 0), ("relu", "gpu", 0)]:
        graph = with_layer(Layer(op, "", ("x",), (y,)), x)
        assert stamps_ns(graph, toy(kind=kind), 3, touch) == [0, moved + extra + 1000]
    assert stamps_ns(graph, toy(), 1, touch) == [0, 2 * size + 1000]


def test_what_has_no_batch_axis_does_not_grow_and_integers_keep_their_size():
    """A table of 100 floats plus 10 indices of 8 bytes that make 10 floats a sample."""
    table = spec("table", 100, batch_axes=())
    index = TensorSpec("index", (1, 10), (0,), "int64")
    graph = with_layer(
        Layer("take", "", ("table", "index"), (spec("y", 10),), flops=8), table, index
    )
    assert stamps_ns(graph, toy(), 1) == [0, 400 + 80 + 40 + 1000]
    assert stamps_ns(graph, toy(), 3) == [0, 400 + 240 + 120 + 1000]
    assert stamps_ns(graph, toy(), 3, dtype="float16") == [0, 200 + 240 + 60 + 1000]


def test_a_lookup_reads_of_its_table_what_it_writes():
    index, rows = TensorSpec("index", (1, 10), (0,), "int64"), spec("y", 10, 8)
    graph = with_layer(Layer("embedding", "", ("index",), (rows,), weight_bytes=10**8), index)
    assert stamps_ns(graph, toy()) == [0, 80 + 320 + 320 + 1000]


def conv(op, channels_in, channels_out, macs_per_output):
    y = spec("y", channels_out, 6, 6)
    flops = 2 * y.elements() * macs_per_output
    return with_layer(Layer(op, "", ("x",), (y,), flops=flops), spec("x", channels_in, 6, 6))


@pytest.mark.parametrize(
    ("graph", "op_class"),
    [
        (conv("conv2d", 32, 64, 32), "dense"),  # 1 by 1
        (conv("conv2d", 3, 64, 27), "dense"),  # 3 by 3
        (conv("conv2d", 32, 8, 32 * 7), "dense"),  # 1 by 7
        (conv("conv2d", 32, 32, 9), "depthwise"),
        (conv("conv2d", 32, 32, 49), "depthwise"),
        (conv("conv2d", 128, 128, 4 * 9), "depthwise"),  # 32 groups
        (tiny_graph(), "product"),
    ],
)
def test_classes_by_hand(graph, op_class):
    assert set(op_classes(graph)) == {op_class}
    assert set(op_classes(two_layers())) == {"dense", "other"}


def test_classes_of_a_captured_model():
    import torch
    from torch import nn

    from dscwb.capturing.captured import capture

    model = nn.Sequential(
        nn.Conv2d(8, 32, 3, padding=1),
        nn.Conv2d(32, 32, 5, padding=2, groups=32),
        nn.Conv2d(32, 32, 3, padding=1, groups=4),
        nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),
        nn.ConvTranspose2d(16, 16, 2, stride=2, groups=16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 32 * 32, 10),
    ).eval()
    graph = capture(model, example_inputs=torch.rand(1, 8, 8, 8)).graph
    assert op_classes(graph) == (
        *("dense", "depthwise", "depthwise", "dense", "depthwise"),
        *("other", "other", "product"),
    )


def test_what_does_not_fit_into_memory_is_a_row_without_times():
    """Worst at the ReLU: 3,200 bytes in and 3,200 out a sample, and 128 bytes of weights."""
    fits = model_profile(two_layers(), toy(memory_bytes=2 * 6400 + 128), [4, 1, 2, 3])
    assert fits.batch_sizes == (1, 2)
    assert [fits.status(size) for size in (1, 3, 4)] == ["ok", "oom", "oom"]
    half = toy(memory_bytes=2 * 6400 + 128)
    assert model_profile(two_layers(), half, [4], dtype="float16").batch_sizes == (4,)


def test_modelled_times_say_so_everywhere(tmp_path):
    modelled = model_profile(tiny_graph(), "Jetson TX2", [1, 8])
    label = modelled.provenance.label()
    assert label.startswith("Jetson TX2, float32 (modelled: roofline from Jetson TX2 Series")
    assert "fitted to an NVIDIA H200: dense 0." in label
    assert "itself modelled" in scale_profile(modelled, 2).provenance.label()
    again = load_profile(save_profile(modelled, tmp_path / "modelled.parquet"))
    assert again.provenance == modelled.provenance
    assert again.total_s(8) == modelled.total_s(8)
    assert math.isnan(modelled.spread(1))  # one pass has no spread, a model no noise


def test_modelled_times_know_what_they_may_be_off_unless_the_shares_are_ones_own():
    graph = tiny_graph()
    for name, kind in [("T4", "gpu"), ("Raspberry Pi 5", "cpu")]:
        known = DEFAULT_EFFICIENCY[kind].time_error
        assert known is not None
        assert model_profile(graph, name, [1]).provenance.time_error == known
    assert model_profile(graph, "T4", [1], efficiency=PERFECT).provenance.time_error is None
    own = dataclasses.replace(PERFECT, time_error=0.05)
    assert model_profile(graph, "T4", [1], efficiency=own).provenance.time_error == 0.05


def test_misuse_is_named():
    with pytest.raises(ValueError, match="Unknown device 'Jetson TX3'"):
        model_profile(tiny_graph(), "Jetson TX3", [1])
    with pytest.raises(ValueError, match="No peak is stated for bfloat16 on toy; it has float32"):
        model_profile(tiny_graph(), toy(), [1], dtype="bfloat16")
    for sizes in ([], [0, 1]):
        with pytest.raises(ValueError, match="batch_sizes is"):
            model_profile(tiny_graph(), toy(), sizes)


sizes = st.integers(1, 64)
rates = st.floats(1e6, 1e15)


@given(first=sizes, second=sizes, peak=rates, bandwidth=rates, kind=st.sampled_from(["cpu", "gpu"]))
def test_time_never_falls_with_the_batch_size(first, second, peak, bandwidth, kind):
    device = toy(kind=kind, peak_flop_per_s={"float32": peak}, bandwidth_bytes_per_s=bandwidth)
    few, many = sorted((first, second))
    modelled = model_profile(two_layers(), device, [few, many])
    assert np.all(modelled.head_s(few) <= modelled.head_s(many))


@given(first=rates, second=rates, bandwidth=rates, size=sizes)
def test_time_never_falls_with_a_lower_peak(first, second, bandwidth, size):
    slow, fast = sorted((first, second))
    slower, faster = (
        stamps_ns(
            two_layers(),
            toy(peak_flop_per_s={"float32": peak}, bandwidth_bytes_per_s=bandwidth),
            size,
        )
        for peak in (slow, fast)
    )
    assert slower >= faster


def varied(seed):
    """A chain of layers of every class, of sizes that compute and sizes that move."""
    rng = np.random.default_rng(seed)
    layers, before = [], spec("x", 32, 56, 56)
    first = before
    for k in range(40):
        channels, side = int(rng.choice([24, 64, 200])), int(rng.choice([7, 28, 112]))
        after = spec(f"t{k}", channels, side, side)
        op, macs = [
            ("conv2d", before.shape[1] * int(rng.choice([1, 9]))),
            ("conv2d", int(rng.choice([9, 25]))),
            ("linear", int(rng.choice([8, 512]))),
            ("relu", 0),
        ][k % 4]
        flops, weights = 2 * after.elements() * macs, int(rng.choice([1e3, 1e7]))
        layers.append(Layer(op, "", (before.name,), (after,), flops=flops, weight_bytes=weights))
        before = after
    return ModelGraph(f"varied{seed}", (first,), tuple(layers), (before.name,))


def as_measured(profile):
    origin = dataclasses.replace(profile.provenance, origin="measured")
    return dataclasses.replace(profile, provenance=origin)


SLOW = toy(peak_flop_per_s={"float32": 5e10}, bandwidth_bytes_per_s=1e10, memory_bytes=1e12)
FAST = dataclasses.replace(  # so fast that it waits for the host at small batches
    SLOW, kind="gpu", peak_flop_per_s={"float32": 2e13}, bandwidth_bytes_per_s=4e12
)


@pytest.mark.parametrize(
    ("device", "special"),
    [(SLOW, {"first_touch_bytes_per_s": 3e9}), (FAST, {"kernel_s": 7e-6})],
)
def test_a_fit_finds_the_efficiency_that_made_the_times(device, special):
    truth = Efficiency(
        dense=0.6, depthwise=0.15, product=0.35, memory=0.45, overhead_s=2e-5, **special
    )
    measured = [
        as_measured(model_profile(varied(seed), device, [1, 2, 8], efficiency=truth))
        for seed in range(4)
    ]
    found = fit_efficiency(measured, device)
    assert found.origin == "fitted to 4 measured profiles"
    assert found.time_error == FITTED_TIME_ERROR[device.kind]
    for name in ("dense", "depthwise", "product", "memory", "overhead_s", *special):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=1e-4)
    unseen = model_profile(varied(9), device, [4], efficiency=found)
    right = model_profile(varied(9), device, [4], efficiency=truth)
    np.testing.assert_allclose(unseen.head_s(4), right.head_s(4), rtol=1e-4)


def test_a_fit_learns_nothing_from_passes_that_stamps_made_longer():
    fine = profile_of(tiny_graph(), {1: [5000, 5000, 5000]})
    dear = profile_of(tiny_graph(), {1: [5000, 5000, 5000], 2: [9000, 1000, 1000]})
    dear.passes[1].plain_ns[:] = 9900  # stamped over plain is 11,000 / 9,900 = 1.11
    assert fit_efficiency([dear], toy()) == fit_efficiency([fine], toy())
    with pytest.raises(ValueError, match="No stamped passes"):
        fit_efficiency([dataclasses.replace(dear, passes=dear.passes[1:])], toy())


def test_a_fit_leaves_alone_what_the_profiles_do_not_show():
    """A chain of matrix products without weights: nothing is said of convolutions."""
    measured = profile_of(tiny_graph(), {1: [5000, 5000, 5000], 2: [5000, 5000, 5000]})
    found = fit_efficiency([measured], toy(assumed_overhead_s=4e-6))
    default = DEFAULT_EFFICIENCY["cpu"]
    assert found.dense == pytest.approx(default.dense)
    assert found.depthwise == pytest.approx(default.depthwise)
    assert found.kernel_s == 0
    assert fit_efficiency([measured], toy(kind="gpu")).first_touch_bytes_per_s == math.inf


def test_a_fit_takes_only_measured_profiles():
    modelled = model_profile(tiny_graph(), toy(), [1])
    with pytest.raises(ValueError, match="'tiny' is modelled, not measured"):
        fit_efficiency([modelled], toy())
    with pytest.raises(ValueError, match="No stamped passes"):
        fit_efficiency([], toy())


def test_what_binds_a_part_is_what_takes_longer_at_the_ceilings_that_were_reached():
    """The convolution reaches 1 FLOP/ns and 4,928 bytes / 6.4 µs, the ReLU 2 bytes/ns.

    At these ceilings the convolution computes for 6.4 µs and moves for 2.464 µs, the ReLU moves for
    3.2 µs.
    """
    profile = profile_of(two_layers(), {1: [6400, 3200]})
    assert bound_by(profile, [0, 1, 2]) == ("arithmetic", "memory")
    assert bound_by(profile, [0, 2]) == ("arithmetic",)
    # Had the ReLU reached half a byte/ns only, the convolution's 0.77 would be the ceiling: moving
    # all of their bytes would take 14.7 µs, computing still 6.4.
    assert bound_by(profile_of(two_layers(), {1: [6400, 12800]}), [0, 2]) == ("memory",)


def test_nobody_knows_what_binds_a_part_without_times_or_flops():
    graph = two_layers()
    unknown = dataclasses.replace(
        graph, layers=(dataclasses.replace(graph.layers[0], flops=None), graph.layers[1])
    )
    assert bound_by(profile_of(unknown, {1: [6400, 3200]}), [0, 1, 2]) == (None, None)
    assert bound_by(profile_of(graph, {}), [0, 2]) == (None,)
