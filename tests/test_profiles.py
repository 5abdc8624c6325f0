import numpy as np
import pytest

from dscwb.profiles.library import scale_profile
from dscwb.profiles.records import NOT_STAMPED, Passes, Profile, ProfileError, Provenance, Separate
from dscwb.profiles.transfers import Transfers
from tests.tiny import profile_of, tiny_graph

HERE = Provenance("measured", "bench clock", threads=1)


def profile(*passes):
    return Profile(tiny_graph(), HERE, passes)


def passes(plain, stamps, batch_size=1, **more):
    return Passes(batch_size, np.array(plain), np.array(stamps), **more)


def test_times_by_hand():
    tiny = profile_of(tiny_graph(), {1: [10, 20, 30], 4: [40, 80, 120]})
    np.testing.assert_allclose(tiny.head_s(1), np.array([0, 10, 30, 60]) * 1e-9)
    np.testing.assert_allclose(tiny.tail_s(4), np.array([240, 200, 120, 0]) * 1e-9)
    assert tiny.total_s(4) == pytest.approx(240e-9)
    assert tiny.batch_sizes == (1, 4)


def test_drift_of_the_machine_cancels():
    """The second pass runs three times slower: shares stay, T comes from the plain passes."""
    one = passes([100, 300, 100], [[0, 10, 50, 100], [0, 30, 150, 300], [0, 10, 50, 100]])
    np.testing.assert_allclose(profile(one).head_s(1), np.array([0, 10, 50, 100]) * 1e-9)


def test_a_cut_left_out_by_a_pass_comes_from_the_others():
    one = passes([100, 100], [[0, 10, NOT_STAMPED, 100], [0, NOT_STAMPED, 60, 100]])
    np.testing.assert_allclose(profile(one).head_s(1), np.array([0, 10, 60, 100]) * 1e-9)


def test_separately_measured_heads_and_tails_need_not_add_up():
    one = Passes(
        1,
        np.zeros(0, np.int64),
        np.zeros((0, 4), np.int64),
        separate=(
            Separate(1, np.array([10, 12, 11]), np.array([95])),
            Separate(3, np.array([100]), np.array([0])),
        ),
    )
    head, tail = profile(one).head_s(1), profile(one).tail_s(1)
    np.testing.assert_allclose(head, np.array([np.nan, 11, np.nan, 100]) * 1e-9)
    np.testing.assert_allclose(tail, np.array([np.nan, 95, np.nan, 0]) * 1e-9)


def test_status_follows_the_spread_of_the_plain_passes():
    def status(plain):
        return profile(passes(plain, [[0, 1, 2, 3]] * len(plain))).status(1)

    assert status([100, 100, 104, 104]) == "ok"
    assert status([100, 100, 120, 120]) == "noisy"
    assert status([100, 100, 150, 150]) == "unreliable"


def test_out_of_memory_is_a_row_without_times():
    oom = Passes(2, np.zeros(0, np.int64), np.zeros((0, 4), np.int64), oom=True)
    tiny = profile(passes([3], [[0, 1, 2, 3]]), oom)
    assert tiny.batch_sizes == (1,)
    assert tiny.status(2) == "oom"
    with pytest.raises(ProfileError, match=r"No times at batch size 2 .* it holds \[1\]"):
        tiny.head_s(2)


def test_a_scaled_profile_is_assumed_for_ever():
    tiny = profile_of(tiny_graph(), {1: [10, 20, 30]})
    fast = scale_profile(tiny, 20)
    assert fast.total_s(1) == pytest.approx(3e-9)
    assert fast.provenance.origin == "assumed"
    assert "20 × as fast as bench clock" in fast.provenance.label()
    again = scale_profile(fast, 0.5)
    assert again.total_s(1) == pytest.approx(6e-9)
    assert again.provenance.note == "10 × as fast as bench clock"
    with pytest.raises(ValueError, match="speedup is 0"):
        scale_profile(tiny, 0)


@pytest.mark.parametrize(
    ("plain", "stamps", "reason"),
    [
        ([], np.zeros((0, 4)), "no passes"),
        ([3], [[0, 1, 3]], "stamps of shape"),
        ([3], [[0, 2, 1, 3]], "run backwards"),
        ([0], [[0, 1, 2, 3]], "positive duration"),
        ([3], [[1, 1, 2, 3]], "positive duration"),
        ([3], [[0, -7, 2, 3]], "negative time"),
    ],
)
def test_impossible_passes_are_refused(plain, stamps, reason):
    with pytest.raises(ProfileError, match=f"{reason}.*; measure it again"):
        profile(passes(np.array(plain, int), np.array(stamps, int)))


def test_batch_sizes_must_ascend():
    one, two = (passes([3], [[0, 1, 2, 3]], size) for size in (1, 2))
    with pytest.raises(ProfileError, match=r"batch sizes \[2, 1\] must be positive, ascending"):
        profile(two, one)


def test_provenance_label_says_device_threads_dtype_origin():
    assert HERE.label() == "bench clock, 1 thread, float32 (measured)"


def test_the_label_tells_of_throttling():
    hot = Provenance("measured", "T4", note="TF32 off", throttled=("power cap", "heat"))
    assert hot.label() == "T4, float32 (measured: TF32 off, throttled by power cap and heat)"
    assert Provenance("measured", "T4", throttled=("heat",)).label() == (
        "T4, float32 (measured: throttled by heat)"
    )


# Payloads of one sample: 400 bytes at the input, then 200, 320 and, at the output, 40.
COPIES = Transfers(
    np.array([200, 400, 3200]), np.array([[10], [20], [300]]), np.array([[30], [40], [500]])
)


def on_a_gpu(**changes):
    tiny = profile_of(tiny_graph(), {1: [10, 20, 30], 8: [80, 160, 240]})
    return Profile(tiny.graph, tiny.provenance, tiny.passes, transfers=COPIES, **changes)


def test_copies_of_each_payload_by_hand():
    # 320 bytes lie six tenths of the way from 200 to 400. The host has the input; the output
    # stays where it is.
    np.testing.assert_allclose(on_a_gpu().to_host_s(1), np.array([0, 10, 16, 0]) * 1e-9)
    np.testing.assert_allclose(on_a_gpu().to_device_s(1), np.array([40, 30, 36, 0]) * 1e-9)
    # 3,200, 1,600 and 2,560 bytes for eight samples: 1,200 and 2,160 of the 2,800 from 400 on.
    expected = 40 + 460 * np.array([2800, 1200, 2160]) / 2800
    np.testing.assert_allclose(on_a_gpu().to_device_s(8)[:3], expected * 1e-9)


def test_nothing_is_known_of_copies_beyond_the_measured_sizes():
    np.testing.assert_allclose(on_a_gpu().to_host_s(16), [0, 300e-9, np.nan, 0])


def test_without_copies_they_take_no_time():
    tiny = profile_of(tiny_graph(), {1: [10, 20, 30]})
    assert tiny.transfers is None
    assert tiny.to_host_s(1).tolist() == tiny.to_device_s(1).tolist() == [0, 0, 0, 0]


def test_a_scaled_profile_scales_every_time():
    np.testing.assert_allclose(
        scale_profile(on_a_gpu(), 10).to_host_s(1), np.array([0, 1, 1.6, 0]) * 1e-9
    )


def test_impossible_copies_are_refused():
    tiny = profile_of(tiny_graph(), {1: [10, 20, 30]})
    wrong = Transfers(np.array([2, 1]), np.array([[1], [1]]), np.array([[1], [1]]))
    with pytest.raises(ProfileError, match=r"copies to and from the accelerator: sizes \[2, 1\]"):
        Profile(tiny.graph, tiny.provenance, tiny.passes, transfers=wrong)


def test_the_whole_next_to_halves_takes_out_drift():
    """The second round runs three times slower, the whole on its own does not."""
    none, ends = np.zeros(0, np.int64), np.array([100, 100])
    one = Passes(
        1,
        none,
        np.zeros((0, 4), np.int64),
        separate=(
            Separate(1, np.array([10, 30]), np.array([80, 240]), np.array([100, 300])),
            Separate(3, ends, np.zeros(2, np.int64), ends),
        ),
    )
    np.testing.assert_allclose(profile(one).head_s(1), np.array([np.nan, 10, np.nan, 100]) * 1e-9)
    np.testing.assert_allclose(profile(one).tail_s(1), np.array([np.nan, 80, np.nan, 0]) * 1e-9)
    assert profile(one).passes[0].rounds == 2
    assert profile(one).status(1) == "ok"


def test_a_profile_prints_itself_in_a_few_lines():
    oom = Passes(2, np.zeros(0, np.int64), np.zeros((0, 4), np.int64), oom=True)
    rough = passes([2000, 2000, 2400, 2400], [[0, 100, 200, 300]] * 4, 4)
    tiny = profile(passes([1000], [[0, 1, 2, 3]]), oom, rough)
    assert repr(tiny).splitlines() == [
        "Profile of tiny: 3 layers, 3 blocks",
        "on bench clock, 1 thread, float32 (measured)",
        "2 batch sizes: T = 1 µs at 1 to T = 2.2 µs at 4; oom at 2; noisy at 4",
    ]
    assert repr(profile_of(tiny_graph(), {3: [1, 2, 3]})).endswith("T = 6 ns at 3; all ok")


def test_a_notebook_shows_a_small_table():
    html = profile_of(tiny_graph("a<b"), {size: [size] * 3 for size in range(1, 63)})._repr_html_()
    assert "<b>a&lt;b</b> on bench clock, float32 (measured); 12 of 62 batch sizes" in html
    assert html.count("<tr>") == 12
    for cell in ("batch size", "state", "1", "62", "3 ns", "186 ns", "ok"):
        assert f">{cell}</t" in html
