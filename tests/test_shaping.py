"""When bytes are through an emulated link, by hand: the clock is whatever the test says."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dscwb.running.shaping import FINISHED, SMALLEST_PIECE_BYTES, Flow, Lane, Plan


def constant(rate_bps, delay_s=0.0):
    return Plan(0.0, [0.0], [rate_bps], [delay_s])


def arrivals(lane, until_s=math.inf, polls=()):
    """All that arrives: when, of which flow, how many bytes. Woken when it asks to be, and more."""
    found, polls = [], sorted(polls)
    while (now_s := min([lane.next_s(), *polls[:1]])) <= until_s and now_s < math.inf:
        polls = polls[now_s in polls[:1] :]
        lane.advance(now_s)
        found += [(now_s, flow, len(data)) for flow, data in lane.arrived(now_s)]
    return found


def test_a_message_takes_its_bits_by_the_rate_and_then_the_delay():
    lane, flow = Lane(constant(1e6, 0.010)), Flow()
    lane.add(5.0, flow, bytes(1000))
    ((when_s, whose, size),) = arrivals(lane)
    assert (when_s, whose, size) == (pytest.approx(5.018, abs=1e-12), flow, 1000)


def test_a_delay_shifts_a_long_message_and_slows_nothing():
    """3 MB at 24 Mbit/s: a second, in pieces of 3,000 bytes that follow each other in flight."""
    found = []
    for delay_s in (0.0, 0.1):
        lane = Lane(constant(24e6, delay_s))
        lane.add(0.0, Flow(), bytes(3_000_000))
        found.append(arrivals(lane))
    assert [size for _, _, size in found[0]] == [3000] * 1000
    assert found[0][-1][0] == pytest.approx(1.0, abs=1e-9)
    for at_once, later in zip(*found, strict=True):
        assert later[0] == pytest.approx(at_once[0] + 0.1, abs=1e-9)


def test_an_idle_link_saves_nothing_up():
    lane, flow = Lane(constant(8e6)), Flow()
    for begun_s in (0.0, 100.0):
        lane.add(begun_s, flow, bytes(1000))
        assert arrivals(lane)[-1][0] == pytest.approx(begun_s + 0.001, abs=1e-9)


def test_messages_queue_behind_each_other():
    lane, flow = Lane(constant(8e3)), Flow()
    lane.add(0.0, flow, bytes(1000))  # a second each
    lane.add(0.25, flow, bytes(1000))
    assert [when_s for when_s, _, _ in arrivals(lane)] == pytest.approx([1, 2])


def test_a_new_rate_holds_at_once_for_bytes_under_way():
    """1,000 bytes at 8 kbit/s: half is through at 0.5 s, the rest takes 0.25 s at twice that."""
    lane = Lane(constant(8e3))
    lane.add(0.0, Flow(), bytes(1000))
    lane.change(0.5, constant(16e3))
    assert arrivals(lane)[0][0] == pytest.approx(0.75)


def test_at_rate_zero_nothing_passes_and_what_travels_arrives():
    lane, flow = Lane(constant(8e3, 10.0)), Flow()
    lane.add(0.0, flow, bytes(1000))
    lane.add(0.0, flow, bytes(1000))
    lane.change(1.5, constant(0, 10.0))
    assert [when_s for when_s, _, _ in arrivals(lane)] == pytest.approx([11])
    assert (lane.next_s(), flow.waiting_bytes, lane.passed_bytes) == (math.inf, 1000, 1000)
    lane.change(100.0, constant(8e3, 0.0))
    assert arrivals(lane)[0][0] == pytest.approx(100.5)


def test_the_end_of_a_flow_waits_for_its_bytes_and_for_the_link():
    lane, flow = Lane(constant(0)), Flow()
    lane.add(0.0, flow, bytes(1000))
    lane.add(0.0, flow, FINISHED)
    assert arrivals(lane) == []
    lane.change(1.0, constant(8e3))
    assert [(round(when_s, 9), size) for when_s, _, size in arrivals(lane)] == [(2, 1000), (2, 0)]


def test_a_trace_that_repeats_is_walked_through():
    """A second of 8 Mbit/s, a second of nothing, again: 1.5 MB need 1 + 1 + 0.5 s."""
    lane = Lane(Plan(0.0, [0.0, 1.0], [8e6, 0.0], [0.0, 0.0], 2.0))
    lane.add(0.0, Flow(), bytes(1_500_000))
    found = arrivals(lane)
    assert found[-1][0] == pytest.approx(2.5, abs=1e-9)
    assert not any(1.0 < when_s - 1e-9 < 2.0 for when_s, _, _ in found)
    assert sum(size for _, _, size in found) == 1_500_000


def test_a_trace_begins_when_it_is_played():
    plan = Plan(50.0, [0.0, 1.0, 2.5], [1.0, 2.0, 3.0], [0.1, 0.2, 0.3], 4.0)
    found = [plan.at(time_s) for time_s in (50.0, 51.0, 52.4, 53.9, 54.0, 62.5)]
    assert [step for step, _, _ in found] == [1, 2, 2, 3, 1, 1]
    assert [until_s for _, _, until_s in found] == [51, 52.5, 52.5, 54, 55, 63]


def test_flows_take_turns():
    """A small message passes a long one after the piece under way and one more at most."""
    lane, long, short = Lane(constant(8e6)), Flow(), Flow()
    lane.add(0.0, long, bytes(1_000_000))
    lane.add(0.0001, short, bytes(100))
    order = [flow for _, flow, _ in arrivals(lane)]
    assert order.index(short) <= 2
    assert SMALLEST_PIECE_BYTES > 1000  # a thousandth of a second at this rate


def test_nothing_is_overtaken_when_the_delay_falls():
    lane, flow = Lane(constant(8e6, 1.0)), Flow()
    lane.add(0.0, flow, bytes(1000))
    lane.advance(0.5)
    lane.change(0.5, constant(8e6, 0.0))
    lane.add(0.5, flow, bytes(1000))
    assert [when_s for when_s, _, _ in arrivals(lane)] == pytest.approx([1.001, 1.001])


def test_a_dropped_flow_gives_the_link_to_others():
    lane, gone, other = Lane(constant(8e3)), Flow(), Flow()
    lane.add(0.0, gone, bytes(1000))
    lane.add(0.0, other, bytes(1000))
    lane.drop(0.25, gone)
    found = arrivals(lane)
    assert [(flow, size) for _, flow, size in found] == [(other, 1000)]
    assert found[0][0] == pytest.approx(1.25)
    assert gone.waiting_bytes == 0


RATES = st.lists(st.sampled_from([0, 1000, 8000, 1_000_000]), min_size=1, max_size=5)
MESSAGES = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 20_000)), min_size=1, max_size=5
).map(sorted)


def by_fractions(rates, messages):
    """When each message is through, exactly: steps of half a second, repeated, one by one."""
    now, ended = Fraction(0), []
    for quarter, size in messages:
        now, bits = max(now, Fraction(quarter, 4)), Fraction(8 * size)
        while bits:
            step = math.floor(now * 2)
            rate = rates[step % len(rates)]
            left = Fraction(step + 1, 2) - now
            took = min(left, bits / rate) if rate else left
            bits -= took * rate
            now += took
        ended.append(now)
    return ended


@given(RATES.filter(any), MESSAGES, st.lists(st.floats(0, 50), max_size=20))
def test_whenever_it_is_woken_it_agrees_with_exact_arithmetic(rates, messages, polls):
    times = [step / 2 for step in range(len(rates))]
    lane = Lane(Plan(0.0, times, rates, [0.0] * len(rates), len(rates) / 2))
    flow, found, before = Flow(), [], 0
    for quarter, size in messages:
        some = [poll for poll in polls if before < 4 * poll <= quarter]
        found += arrivals(lane, quarter / 4, some)
        before = quarter
        lane.add(quarter / 4, flow, bytes(size))
    found += arrivals(lane)
    whole, through, expected = 0, [], by_fractions(rates, messages)
    for when_s, _, size in found:
        through += [when_s] * size
    assert len(through) == sum(size for _, size in messages)
    for (_, size), ended in zip(messages, expected, strict=True):
        whole += size
        assert through[whole - 1] == pytest.approx(float(ended), abs=1e-6)
