"""The answer in words, with costs by hand: what to do, and how sure that is, apart from each other.

The device needs 10, 20 and 30 ms for the blocks a, b and c, the server a tenth; the payloads of
input, a and b are 3200, 1600 and 2560 bits. No offloading and a cost the same at 35.6 kbit/s, a
and full offloading at 178.
"""

import pytest

import dscwb
from dscwb.study import sweep
from dscwb.workbench.answer import Sure, answer, sure_of
from dscwb.workbench.state import State
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000
LAYERS = [10, 20, 30]
WIRE = {"input_encoding": "float32", "feature_encoding": "float32"}
POWER = dscwb.PowerModel(10.0, 2.0, 1.0, "by hand")
BY_DEVICE = "the device's measurements"


def machine(speedup=1, sizes=(1, 3), origin="measured"):
    layers = {size: [size * ms * MS // speedup for ms in LAYERS] for size in sizes}
    return profile_of(tiny_graph(), layers, origin=origin)


def study(server=None, **knobs):
    return sweep(machine(), server or machine(10), **WIRE | knobs)


def told(found, rate, size=1, baseline="no offloading", sure=None):
    state = State("tiny", batch_size=size, data_rate_bps=rate, baseline=baseline)
    return answer(found, state, sure)


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (
            1e4,
            "At 10 kbit/s don't split: 60 ms on the device. Splitting pays from 35.6 kbit/s; "
            "next best: after a, 175 ms (+192 %).",
        ),
        (
            1e5,
            "At 100 kbit/s split after a: 31 ms (device 10 ms + link 16 ms + server 5 ms), 48 % "
            "faster than no offloading. Best from 35.6 to 178 kbit/s; next best: full offloading, "
            "38 ms (+23 %).",
        ),
        (
            1e6,
            "At 1 Mbit/s send the input and run all on the server: 9.2 ms (link 3.2 ms + server "
            "6 ms), 85 % faster than no offloading. Best from 178 kbit/s up; next best: after a, "
            "16.6 ms (+80 %).",
        ),
        (
            # 15 ms + 1600 bits here, 6 ms + 3200 bits there: both 24 ms.
            1600 / 0.009,
            "At 178 kbit/s split after a: 24 ms (device 10 ms + link 9 ms + server 5 ms), 60 % "
            "faster than no offloading. Best from 35.6 to 178 kbit/s; next best: full offloading, "
            "24 ms (no worse).",
        ),
    ],
)
def test_what_to_do(rate, words):
    assert told(study(), rate).what == words


def test_a_batch_size_that_was_not_measured_and_samples_that_arrive():
    # Three samples: 2 / (2 · 100) s until they are there.
    found = told(study(arrival_rate_hz=100.0), 1e5, size=3)
    assert found.what.startswith(
        "At 100 kbit/s and batch size 3 split after a: 103 ms (waiting 10 ms + device 30 ms + link "
        "48 ms + server 15 ms), 46 % faster than"
    )
    assert told(study(), 1e5, size=2).what.startswith(
        "At 100 kbit/s and batch size 2 (interpolated) split after a: 62 ms"
    )


def test_the_devices_energy():
    # 10 W for 10 ms, 2 W for 16 ms, 1 W for 5 ms: 137 mJ; full offloading 64 + 6 mJ. They cost the
    # same at 3200 / 0.099 bit/s.
    found = study(objective="energy", power=POWER)
    assert told(found, 1e5).what == (
        "At 100 kbit/s send the input and run all on the server: 70 mJ of the device's energy, "
        "38 ms (link 32 ms + server 6 ms), 88 % less than no offloading. Best from 32.3 kbit/s up; "
        "next best: after a, 137 mJ (+96 %)."
    )
    assert "don't split: 600 mJ of the device's energy, 60 ms on the device. " in (
        told(found, 1e3).what
    )


def test_what_it_is_compared_with():
    found = study()
    assert "48 % faster than no offloading. " in told(found, 1e5).what
    assert "48 % faster than no offloading. " in told(found, 1e5, baseline="no_offloading").what
    assert "), 45 % faster than a split after a, the best static choice. " in (
        told(found, 1e6, baseline="best_static").what
    )
    assert "), 45 % faster than a split after a. " in told(found, 1e6, baseline="after a").what
    small = study(memory_cap_bytes=1700.0)
    assert "), while no offloading is not possible here. " in told(small, 1e5, size=3).what


def test_one_candidate_alone():
    alone = study(min_depth=3)
    assert told(alone, 1e6).what == (
        "At 1 Mbit/s don't split: 60 ms on the device. Best at every data rate from 10 kbit/s to "
        "10 Gbit/s; nothing else is possible."
    )


def test_a_link_that_is_down():
    assert told(study(), 0.0).what == (
        "While the link is down don't split: 60 ms on the device. Splitting pays from 35.6 kbit/s; "
        "nothing else is possible."
    )
    small = study(memory_cap_bytes=1700.0)
    assert told(small, 0.0, size=3).what == (
        "While the link is down and batch size 3 nothing is possible: no offloading is not, and "
        "nothing can be sent."
    )


def test_what_is_sure_by_the_measurements_stands_apart():
    found = study()
    assert told(found, 1e5).measured == ("How sure this is by the measurements is not checked yet.")
    assert told(found, 1e5, sure=Sure(1.0, BY_DEVICE)).measured == (
        "Sure by the device's measurements: best in >99 % of the replicates."
    )
    # What is too little is never rounded to what would be enough.
    assert told(found, 1e5, sure=Sure(0.9499, BY_DEVICE)).measured == (
        "Not sure by the device's measurements: best in 94 % of the replicates, against full "
        "offloading."
    )
    assert told(found, 1e5, sure=Sure(1.0, "")).measured == (
        "How sure this is, is not known: the times have no spread."
    )


def test_what_a_bootstrap_says_of_a_state():
    found = study()
    assert sure_of(found.confidence(40), 1, 1e5) == (1.0, "the measurements of both machines")


def test_what_rests_on_a_model_stands_apart():
    assert told(study(), 1e5).modelled == ""
    # a costs 26 + 5 f, no offloading 60 ms.
    assert told(study(machine(10, origin="assumed")), 1e5).modelled == (
        "The answer stays the same until the server is 6.8 × slower (server assumed, error "
        "unknown, 2 × slower and faster were tried)."
    )
    # a costs 18.421 + 5 f, full offloading 16.842 + 6 f: the same where f is 1.58.
    assert told(study(machine(10, origin="assumed")), 1.9e5).modelled.startswith(
        "With the server 1.58 × slower, a split after a would be best (server assumed"
    )


def test_all_of_it_in_one_text():
    found = told(study(machine(10, origin="modelled")), 1e5)
    assert str(found).startswith(f"{found.what} {found.measured} The answer stays the same")
    assert not found.cautions
