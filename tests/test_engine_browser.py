"""The browser's arithmetic against Python's: every shipped model, every knob, one page."""

import json
from base64 import b64encode

import numpy as np
import pytest

from dscwb.devices.machines import Library
from dscwb.profiles.library import scale_profile
from dscwb.scenario import CANDIDATES
from dscwb.study import sweep
from dscwb.study.study import BASELINES
from dscwb.study.sureness import robust
from dscwb.units import ENCODINGS
from dscwb.workbench.answer import Sure, answer
from dscwb.workbench.pair import machine_part, model_key, model_part
from dscwb.workbench.state import ASSUMED, JPEG, State
from tests.lab import chromium_page
from tests.scripts import ENGINE

pytestmark = pytest.mark.browser

SCENARIOS, STATES = 1_000, 5
NEAR = {"rtol": 1e-12, "atol": 0}

# Answers come back as JSON, which knows no NaN and no infinity.
READ = """
const parts = (raw) => ({ ...raw, head_ns: decoded(raw.head_ns),
  tail_ns: raw.tail_ns && decoded(raw.tail_ns) });
const decoded = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
const pairs = new Map();

window.give = ({ models, machines }) => { window.models = models; window.machines = machines; };

function pairOf(edge, server) {
  const key = `${edge} ${server}`;
  if (!pairs.has(key)) {
    pairs.set(key, new Pair({ models, edge: parts(machines[edge]),
      server: server === null ? null : parts(machines[server]) }));
  }
  return pairs.get(key);
}

function at(study, state) {
  const row = study.row(state.batch_size), rate = state.data_rate_bps;
  const best = study.bestAt(row, rate), { split, margin } = study.secondAt(row, rate);
  const base = study.baseline(state.baseline);
  return {
    best: study.candidates[best].name, second: study.candidates[split]?.name ?? "", margin,
    costs: study.candidates.map((_, k) => study.costAt(row, k, rate)),
    latencies: study.candidates.map((_, k) => study.latencyAt(row, k, rate)),
    parts: study.partsAt(row, best, rate), range: study.rangeOf(row, rate),
    rates: study.envelopes[row].rates, sent: study.bits[study.index(row, best)] / 8,
    baseline: study.candidates[base].name, gain: study.gainAt(row, rate, base),
    regret: study.regretAt(row, rate, base), interpolated: study.interpolated[row],
    ranked: study.ranked(row, rate).map((k) => study.candidates[k].name),
    robust: study.robust(row, rate), answer: Object.values(answerWords(study, state, state.sure)),
    flips: study.flips(row, rate).map((flip) => [
      flip.device, flip.server, study.candidates[flip.split].name, flip.inside]),
  };
}

window.answers = (asked) => JSON.stringify(asked.map(({ edge, server, states }) => {
  try {
    const study = new Study(pairOf(edge, server), states[0], [1e4, 1e10]);
    return { splits: study.candidates.map(({ name }) => name),
      sizes: study.batchSizes, unit: study.unit,
      states: states.map((state) => {
        try { return at(study, state); } catch (error) { return { refused: error.message }; }
      }) };
  } catch (error) { return { refused: error.message }; }
}), (_, value) => typeof value === "number" && !isFinite(value) ? `${value}` : value);
"""


class Given:
    """What the page is given: models and machines, each once."""

    def __init__(self):
        self.models, self.machines, self.profiles = {}, {}, {}

    def add(self, name, profile):
        if name not in self.profiles:
            model = model_part(profile.graph)
            part = machine_part(profile, model_key(model))
            self.models[part["model"]], self.profiles[name] = model, profile
            self.machines[name] = {
                key: b64encode(value).decode() if isinstance(value, bytes) else value
                for key, value in part.items()
            }
        return name


def pairs_of(library, given, rng):
    """Every model on all machines that it was measured on, on some that are modelled or assumed."""
    for number, model in enumerate(library.models):
        names = library.machines(model)
        measured = [name for name in names if "(measured)" in name]
        modelled = names[len(measured) + number % (len(names) - len(measured))]
        for name in (*measured, modelled):
            given.add(f"{model} {name}", library.profile(model, name))
        for edge in (*measured, modelled):
            for server in (*measured, modelled, ASSUMED):
                if edge != server:
                    yield model, edge, server


def some(rng, *often, low, high):
    """One of these values, or one of that range on a logarithmic axis."""
    chosen = rng.integers(len(often) + 1)
    return (
        often[chosen] if chosen < len(often) else float(np.exp(rng.uniform(*np.log([low, high]))))
    )


def knobs(rng, blocks):
    depth = 0 if rng.random() < 0.7 else int(rng.integers(blocks + 2))
    return {
        "input_encoding": str(rng.choice([*ENCODINGS, JPEG])),
        "feature_encoding": str(rng.choice([*ENCODINGS, JPEG])),
        "granularity": str(rng.choice(list(CANDIDATES), p=[0.45, 0.3, 0.05, 0.2])),
        "round_trip_s": some(rng, 0.0, low=1e-4, high=10),
        "overhead_bytes": some(rng, 0.0, low=1, high=1e6),
        "downlink_bps": some(rng, 0.0, low=1e3, high=1e11),
        "server_load": some(rng, 1.0, low=1, high=1e3),
        "device_slowdown": some(rng, 1.0, low=1, high=1e3),
        "private_input": bool(rng.random() < 0.2),
        "min_depth": depth,
        "memory_cap_bytes": 0.0 if rng.random() < 0.9 else some(rng, low=1e5, high=1e9),
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
    for _ in range(STATES):
        row = int(rng.integers(len(study.batch_sizes)))
        changes = study.envelopes[row].switching_rates_bps.tolist()
        rate = some(rng, 1e4, 1e10, low=1e4, high=1e10)
        if changes and rng.random() < 0.4:
            rate = float(rng.choice(changes))
        chance = round(float(rng.choice([0.9, 0.95, 0.997, rng.random()])), 4)
        whose = str(rng.choice(["", "the device's measurements"]))
        baseline = str(
            rng.choice(named, p=[0.2] * 4 + [0.2 / len(study.splits)] * len(study.splits))
        )
        yield {
            "batch_size": study.batch_sizes[row],
            "data_rate_bps": rate,
            "baseline": baseline,
            "sure": rng.choice([None, {"probability": chance, "whose": whose}]),
        }


def refused(action, *arguments):
    """What came of it, and the words of the refusal, of which one is None."""
    try:
        return action(*arguments), None
    except ValueError as error:
        return None, str(error)


def told(study, state):
    """What Python says of a state, as the page does."""
    size, rate, sure = state["batch_size"], state["data_rate_bps"], state["sure"]
    at = State("", batch_size=size, data_rate_bps=rate, baseline=state["baseline"])
    best, row = study.at(size, rate), study.row(size)
    baseline = study.baseline_split(state["baseline"])
    costs = study.cost_at(size, rate)[:, 0]
    splits = study.splits
    chosen = splits.index(best.split)
    possible = np.flatnonzero(~np.isnan(costs))
    flips = study.how_sure(size, rate).flips
    lines = study.lines
    return {
        "best": best.split,
        "second": best.runner_up,
        "margin": best.margin,
        "costs": costs,
        "latencies": study.latency_at(size, rate)[:, 0],
        "parts": {
            "wait": best.wait_s,
            "head": best.head_s,
            "transfer": lines.bits[row, chosen] / rate,
            "link": lines.link_s[row, chosen],
            "tail": best.tail_s,
        },
        "range": [best.best_from_bps, best.best_to_bps],
        "rates": study.envelopes[row].switching_rates_bps,
        "sent": best.payload_bytes,
        "baseline": baseline,
        "gain": study.gain_at(size, rate, baseline),
        "regret": np.maximum(0, costs[splits.index(baseline)] - costs[chosen]),
        "interpolated": best.interpolated,
        "ranked": [splits[k] for k in sorted(possible, key=lambda k: (k != chosen, costs[k], k))],
        "answer": list(answer(study, at, sure and Sure(**sure))),
        "robust": bool(robust(study.at_rates(rate))[row, 0]),
        "flips": [[one.device, one.server, one.split, one.inside] for one in flips],
    }


def alike(said, wanted, where):
    """Names and truth values are the same, numbers as near as rounding lets them be."""
    if isinstance(wanted, dict):
        assert said.keys() == wanted.keys(), where
        for key, value in wanted.items():
            alike(said[key], value, (*where, key))
    elif isinstance(wanted, list) and not all(isinstance(one, float) for one in wanted):
        assert len(said) == len(wanted), where
        for place, value in enumerate(wanted):
            alike(said[place], value, (*where, place))
    elif isinstance(wanted, str | bool | None):
        assert said == wanted, where
    else:
        numbers = np.array(said, dtype=np.float64)
        np.testing.assert_allclose(numbers, wanted, equal_nan=True, **NEAR, err_msg=str(where))


def test_javascript_computes_what_python_does(chromium):
    rng, library, given = np.random.default_rng(13), Library("data/profiles"), Given()
    pairs = list(pairs_of(library, given, rng))
    asked, wanted = [], []
    for number in range(SCENARIOS):
        model, edge, server = pairs[number % len(pairs)]
        head = given.profiles[f"{model} {edge}"]
        blocks = len(head.graph.blocks)
        state = State(model, edge, server).changed(knobs(rng, blocks))
        values = state.values()
        tail = (
            scale_profile(head, state.server_speedup)
            if server == ASSUMED
            else given.profiles[f"{model} {server}"]
        )
        study, no = refused(sweep, head, tail, state.counted)
        states = list(places(rng, study)) if study else [{}]
        asked.append(
            {
                "edge": f"{model} {edge}",
                "server": None if server == ASSUMED else f"{model} {server}",
                "states": [values | one for one in states],
            }
        )
        if study is None:
            wanted.append({"refused": no})
            continue
        said = []
        for one in states:
            answer, no = refused(told, study, one)
            said.append({"refused": no} if answer is None else answer)
        wanted.append(
            {
                "splits": list(study.splits),
                "sizes": list(study.batch_sizes),
                "unit": study.unit,
                "states": said,
            }
        )
    with chromium_page(chromium) as page:
        page.add_script_tag(content=ENGINE + READ, type="module")
        page.evaluate(
            "(given) => window.give(given)",
            {"models": given.models, "machines": given.machines},
        )
        said = json.loads(page.evaluate("(asked) => window.answers(asked)", asked))
    for number, (one, other) in enumerate(zip(said, wanted, strict=True)):
        alike(one, other, (number, asked[number]["edge"], asked[number]["server"]))
