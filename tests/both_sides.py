"""One question to Python and to the browser: profiles and states go in, both answers come out."""

import json
from base64 import b64encode
from functools import lru_cache

import numpy as np

from dscwb.profiles.library import scale_profile
from dscwb.study import sweep
from dscwb.study.sureness import flips_of, model_errors, robust
from dscwb.workbench.answer import Sure, answer
from dscwb.workbench.pair import machine_part, model_key, model_part
from dscwb.workbench.state import State
from tests.lab import chromium_page
from tests.scripts import ENGINE

NEAR = 1e-12

# Answers come back as JSON, which knows no NaN and no infinity.
ANSWERS = """
const bytes = (text) => text && Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
const machine = (raw) => raw
  && { ...raw, head_ns: bytes(raw.head_ns), tail_ns: bytes(raw.tail_ns) };
const attempt = (action) => {
  try { return action(); } catch (error) { return { refused: error.message }; }
};

function at(study, state) {
  const row = study.row(state.batch_size), rate = state.data_rate_bps;
  const best = study.bestAt(row, rate), { split, margin } = study.secondAt(row, rate);
  const base = study.baseline(state.baseline), names = study.candidates.map(({ name }) => name);
  return {
    best: names[best], second: names[split] ?? "", margin,
    costs: study.candidates.map((_, k) => study.costAt(row, k, rate)),
    latencies: study.candidates.map((_, k) => study.latencyAt(row, k, rate)),
    parts: study.partsAt(row, best, rate), range: study.rangeOf(row, rate),
    rates: study.envelopes[row].rates, sent: study.bits[study.index(row, best)] / 8,
    baseline: names[base], gain: study.gainAt(row, rate, base),
    regret: study.regretAt(row, rate, base), interpolated: study.interpolated[row],
    robust: study.robust(row, rate),
    flips: study.flips(row, rate).map(
      (flip) => [flip.device, flip.server, names[flip.split], flip.inside]),
    answer: Object.values(answerWords(study, state, state.sure)),
  };
}

window.answers = ({ models, machines, questions }) => {
  const pairs = new Map();
  const pairOf = (edge, server) => {
    const key = JSON.stringify([edge, server]);
    if (!pairs.has(key)) {
      const [own, other] = [edge, server].map((name) => machine(machines[name]));
      pairs.set(key, new Pair({ models, edge: own, server: other ?? null }));
    }
    return pairs.get(key);
  };
  const said = questions.map(({ edge, server, states }) => attempt(() => {
    const study = new Study(pairOf(edge, server), states[0], [1e4, 1e10]);
    return { splits: study.candidates.map(({ name }) => name), sizes: study.batchSizes,
      unit: study.unit, server: study.server.label,
      states: states.map((state) => attempt(() => at(study, state))) };
  }));
  return JSON.stringify(said, (_, value) => (
    typeof value === "number" && !isFinite(value) ? `${value}` : value));
};
"""


class BothSides:
    """Questions to both, and what Python said at once.

    Attributes:
        questions: What the browser is asked: names of machines, and states of one scenario.
        wanted: What it should say.
    """

    def __init__(self):
        self._profiles, self._machines, self._models = {}, {}, {}
        self._part = lru_cache(model_part)
        self.questions, self.wanted = [], []

    def add(self, name, profile):
        """Profiles that questions are about."""
        if name not in self._profiles:
            model = self._part(profile.graph)
            part = machine_part(profile, model_key(model))
            self._models[part["model"]], self._profiles[name] = model, profile
            self._machines[name] = {
                key: b64encode(value).decode() if isinstance(value, bytes) else value
                for key, value in part.items()
            }

    def ask(self, edge, server, state, places):
        """Ask about a scenario; `places` gives states of a study, no server is an assumed one.

        What of the state a study does not depend on comes from `places`.
        """
        head = self._profiles[edge]
        tail = self._profiles[server] if server else scale_profile(head, state.server_speedup)
        study, refused = _refused(sweep, head, tail, state.counted)
        states = list(places(study)) if study else [{}]
        values = state.values()
        self.questions.append(
            {"edge": edge, "server": server, "states": [values | one for one in states]}
        )
        if study is None:
            self.wanted.append({"refused": refused})
            return
        sturdy = robust(study.at_rates([one["data_rate_bps"] for one in states]))
        said = [_refused(told, study, *one) for one in zip(states, sturdy.T, strict=True)]
        self.wanted.append(
            {
                "splits": list(study.splits),
                "sizes": list(study.batch_sizes),
                "unit": study.unit,
                "server": tail.provenance.label(),
                "states": [one if no is None else {"refused": no} for one, no in said],
            }
        )

    def compare(self, chromium):
        """Raise where they do not agree: names and words to the letter, numbers to `NEAR`."""
        told = {"models": self._models, "machines": self._machines, "questions": self.questions}
        asked = json.dumps(told, allow_nan=False)  # playwright takes seconds over each value
        with chromium_page(chromium) as page:
            page.add_script_tag(content=ENGINE + ANSWERS, type="module")
            page.wait_for_function("() => window.answers")
            said = json.loads(page.evaluate("(told) => window.answers(JSON.parse(told))", asked))
        numbers = []
        for number, (one, other) in enumerate(zip(said, self.wanted, strict=True)):
            _collect(one, other, (number,), numbers)
        places, found, wanted = zip(*numbers, strict=True)
        sizes = [len(one) for one in wanted]
        found, wanted = np.concatenate(found), np.concatenate(wanted)
        with np.errstate(invalid="ignore"):
            apart = abs(found - wanted) > NEAR * abs(wanted)
        apart |= np.isnan(found) != np.isnan(wanted)
        apart |= np.isinf(wanted) & (found != wanted)
        where = [places[k] for k in np.repeat(np.arange(len(sizes)), sizes)[apart][:3]]
        assert not where, [
            (place, self.questions[place[0]], f"{found[apart][k]!r} {wanted[apart][k]!r}")
            for k, place in enumerate(where)
        ]


def _refused(action, *arguments):
    """What came of it, and the words of the refusal, of which one is None."""
    try:
        return action(*arguments), None
    except ValueError as error:
        return None, str(error)


def told(study, state, sturdy):
    """What Python says of a state, as `at` in the page; `sturdy` is `robust` at its rate."""
    size, rate, sure = state["batch_size"], state["data_rate_bps"], state["sure"]
    best, row, lines = study.at(size, rate), study.row(size), study.lines
    baseline, splits = study.baseline_split(state["baseline"]), study.splits
    costs, chosen = study.cost_at(size, rate)[:, 0], splits.index(best.split)
    sends = lines.bits[row, chosen] > 0
    flips = flips_of(study, size, rate, best.split, model_errors(study))
    said = answer(
        study,
        State("", batch_size=size, data_rate_bps=rate, baseline=state["baseline"]),
        sure and Sure(**sure),
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        regret = costs[splits.index(baseline)] - costs[chosen]
        transfer = lines.bits[row, chosen] / np.float64(rate) if sends else 0.0
    return {
        "best": best.split,
        "second": best.runner_up,
        "margin": best.margin,
        "costs": costs,
        "latencies": study.latency_at(size, rate)[:, 0],
        "parts": {
            "wait": best.wait_s,
            "head": best.head_s,
            "transfer": float(transfer),
            "link": float(lines.link_s[row, chosen]),
            "tail": best.tail_s,
        },
        "range": np.array([best.best_from_bps, best.best_to_bps]),
        "rates": study.envelopes[row].switching_rates_bps,
        "sent": best.payload_bytes,
        "baseline": baseline,
        "gain": study.gain_at(size, rate, baseline),
        "regret": 0.0 if np.isposinf(costs[chosen]) else float(np.maximum(0, regret)),
        "interpolated": best.interpolated,
        "robust": bool(sturdy[row]),
        "flips": [[one.device, one.server, one.split, one.inside] for one in flips],
        "answer": list(said),
    }


def _collect(said, wanted, where, numbers):
    """Compare all but the numbers, which are gathered."""
    if isinstance(wanted, dict):
        assert said.keys() == wanted.keys(), (where, said, wanted)
        for key, value in wanted.items():
            _collect(said[key], value, (*where, key), numbers)
    elif isinstance(wanted, list):
        assert len(said) == len(wanted), (where, said, wanted)
        for place, value in enumerate(wanted):
            _collect(said[place], value, (*where, place), numbers)
    elif isinstance(wanted, float | np.ndarray):
        pair = (np.atleast_1d(np.array(one, dtype=np.float64)) for one in (said, wanted))
        numbers.append((where, *pair))
        assert numbers[-1][1].shape == numbers[-1][2].shape, where
    else:
        assert said == wanted, where
