"""The browser against Python in numbers and words: every shipped model, every knob, one page."""

import numpy as np
import pytest

from dscwb.devices.machines import MODELLED, Library
from dscwb.scenario import CANDIDATES
from dscwb.study.study import BASELINES
from dscwb.units import ENCODINGS
from dscwb.workbench.state import ASSUMED, JPEG, State
from tests.both_sides import BothSides

pytestmark = pytest.mark.browser

SCENARIOS, STATES = 1_000, 5


def pairs_of(library, sides):
    """Every model on all machines that it was measured on, on one modelled or none, and assumed."""
    for number, model in enumerate(library.models):
        names = library.machines(model)
        measured = [name for name in names if not name.endswith(MODELLED)]
        modelled = names[len(measured) + number : len(measured) + number + 1]
        machines = [*measured, *modelled]
        for name in machines:
            sides.add(f"{model} {name}", library.profile(model, name))
        for edge in machines:
            for server in (*machines, ASSUMED):
                if edge != server:
                    yield model, edge, server


def some(rng, *often, low, high):
    """One of these values, or one of that range on a logarithmic axis."""
    at = rng.integers(len(often) + 1)
    return often[at] if at < len(often) else float(np.exp(rng.uniform(*np.log([low, high]))))


def knobs(rng, blocks):
    """Every field that a study depends on; now and then what is not possible."""
    return {
        "input_encoding": str(rng.choice([*ENCODINGS, JPEG])),
        "feature_encoding": str(rng.choice([*ENCODINGS, JPEG])),
        "granularity": str(rng.choice(list(CANDIDATES), p=[0.5, 0.3, 0.03, 0.17])),
        "round_trip_s": some(rng, 0.0, low=1e-4, high=10),
        "overhead_bytes": some(rng, 0.0, low=1, high=1e6),
        "downlink_bps": some(rng, 0.0, low=1e3, high=1e11),
        "server_load": some(rng, 1.0, low=1, high=1e3),
        "device_slowdown": some(rng, 1.0, low=1, high=1e3),
        "private_input": bool(rng.random() < 0.2),
        "min_depth": 0 if rng.random() < 0.7 else int(rng.integers(blocks + 2)),
        "memory_cap_bytes": some(rng, *[0.0] * 8, low=1e5, high=1e9),
        "arrival_rate_hz": some(rng, 0.0, low=0.1, high=1e5),
        "objective": str(rng.choice(["latency", "energy"], p=[0.7, 0.3])),
        "compute_w": some(rng, 0.0, 10.0, low=0.01, high=1e3),
        "send_w": some(rng, 0.0, 2.0, low=0.01, high=1e3),
        "wait_w": some(rng, 0.0, 1.0, low=0.01, high=1e3),
        "server_speedup": some(rng, 20.0, low=0.01, high=1e5),
    }


def places(rng, study):
    """States of a study: batch size, baseline, and data rate, often one where the best changes."""
    named = [*BASELINES, *study.splits]
    shares = np.where(np.arange(len(named)) < len(BASELINES), 0.1, 0.6 / len(study.splits))
    for _ in range(STATES):
        row = int(rng.integers(len(study.batch_sizes)))
        changes = study.envelopes[row].switching_rates_bps.tolist()
        rate = some(rng, 1e4, 1e10, low=1e4, high=1e10)
        if changes and rng.random() < 0.4:
            rate = float(rng.choice(changes))
        chance = round(float(rng.choice([0.9, 0.95, 0.997, rng.random()])), 4)
        whose = str(rng.choice(["", "the device's measurements"]))
        yield {
            "batch_size": study.batch_sizes[row],
            "data_rate_bps": rate,
            "baseline": str(rng.choice(named, p=shares)),
            "sure": rng.choice([None, {"probability": chance, "whose": whose}]),
        }


def test_javascript_computes_and_says_what_python_does(chromium):
    rng, library, sides = np.random.default_rng(13), Library("data/profiles"), BothSides()
    pairs = list(pairs_of(library, sides))
    for number in range(SCENARIOS):
        model, edge, server = pairs[number % len(pairs)]
        blocks = len(library.profile(model, edge).graph.blocks)
        sides.ask(
            f"{model} {edge}",
            None if server == ASSUMED else f"{model} {server}",
            State(model, edge, server).changed(knobs(rng, blocks)),
            lambda study: places(rng, study),
        )
    refused = ["refused" in one for one in sides.wanted]
    assert 10 < sum(refused) < SCENARIOS / 5
    sides.compare(chromium)
