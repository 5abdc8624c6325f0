"""The project's own speed, as ratios beside their bounds: ``python -m benchmarks.bench``.

Absolute times depend on the machine and on what else it does. Ratios of times that were taken next
to each other hardly do.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dscwb
    from dscwb.profiles.passes import Passes

IMPORT_BOUND_S = 0.5
CAPTURE_BOUND = 1.5  # times torch.export of the same module
PROFILE_BOUND = 1.5  # times its own passes
DEAR_BOUND = 2.0  # times the profile with a clock that costs nothing
WORST_BOUND = 3.0  # % of T, at the worst cut
SEVEN = (1, 2, 4, 8, 16, 32, 62)  # batch sizes
AGREE_BOUND = 2.0  # % of T, between halves of a profile and between two
BIAS_BOUND = 1.0  # % of T, median over cuts
STARTS = 7  # of an interpreter, each way
CAPTURES = 2  # of a model, each way
PASSES = 30
PROFILES = 3
SWEEPS = 9  # of a grid, each way
DECIDE_BOUND_MS, DECIDE_BOUND_MB = 25.0, 10.0
BOOTSTRAP_BOUND_S = 5.0
OVERHEAD_MS = 0.3  # a request, above a bare socket's echo
CHOOSE_US, STEP_NS = 20.0, 100.0
REQUEST_US = 60.0  # of a fleet: a million a minute
SEPARATE = 3  # times every head and tail, each way

# Model and side of its image: the table of PAPER, native sizes.
EFFICIENTNETS = {
    "efficientnet_b0": 224,
    "efficientnet_b1": 240,
    "efficientnet_b2": 260,
    "efficientnet_b3": 300,
    "efficientnet_b4": 380,
    "efficientnet_b5": 456,
    "efficientnet_b6": 528,
    "efficientnet_b7": 600,
    "tf_efficientnetv2_b0": 224,
    "tf_efficientnetv2_b1": 240,
    "tf_efficientnetv2_b2": 260,
    "tf_efficientnetv2_b3": 300,
    "tf_efficientnetv2_s": 384,
    "tf_efficientnetv2_m": 480,
    "tf_efficientnetv2_l": 480,
}
FEW = ("efficientnet_b0", "efficientnet_b4", "tf_efficientnetv2_s")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: The quantity.
        value: As measured.
        unit: Of value and bound; a ratio's is "times".
        bound: What it must not exceed; None where it is only for information.
        how: The times behind it.
    """

    what: str
    value: float
    unit: str = "×"
    bound: float | None = None
    how: str = ""

    def __str__(self) -> str:
        bound = "" if self.bound is None else f"≤ {self.bound:g} {self.unit}"
        over = self.bound is not None and self.value > self.bound
        value = f"{self.value:.2f} {self.unit}"
        return f"{self.what:<55} {value:>8}  {bound:<8} {'OVER' if over else '':<4}  {self.how}"


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def start_python(program: str) -> str:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def imports(every: bool) -> Iterator[Row]:
    """``import dscwb`` in a fresh interpreter, against one that does nothing."""
    ours, bare = alternate(
        STARTS, lambda: start_python("import dscwb"), lambda: start_python("pass")
    )
    loaded = start_python("import dscwb, sys; print('torch' in sys.modules)") == "True"
    how = f"of {STARTS} starts each; torch is {'LOADED' if loaded else 'not loaded'}"
    yield Row("import dscwb, interpreter included", ours, "s", IMPORT_BOUND_S, how)
    yield Row("  over a bare interpreter", ours / bare, how=f"{bare:.3f} s")


def captures(every: bool) -> Iterator[Row]:
    """`capture` of a ready module against `torch.export.export` of the same one."""
    import timm
    import torch

    import dscwb

    def export(module: torch.nn.Module, x: torch.Tensor) -> object:
        shapes = ({0: torch.export.Dim("batch", min=1)},)
        with torch.no_grad():
            return torch.export.export(module, (x,), dynamic_shapes=shapes, strict=False)

    first = timm.create_model("resnet18").eval()
    export(first, torch.rand(2, 3, 64, 64))  # torch loads more on the first export
    for model in EFFICIENTNETS if every else FEW:
        side = EFFICIENTNETS[model]
        module, x = timm.create_model(model).eval(), torch.rand(2, 3, side, side)
        ours, theirs = alternate(
            CAPTURES,
            lambda module=module, x=x: dscwb.capture(module, example_inputs=x),
            lambda module=module, x=x: export(module, x),
        )
        how = f"{ours:.2f} s / {theirs:.2f} s"
        yield Row(f"capture / torch.export, {model}", ours / theirs, bound=CAPTURE_BOUND, how=how)


def alternate(times: int, *actions: Callable[[], object]) -> list[float]:
    """Median seconds of each action; they take turns in going first."""
    taken: list[list[float]] = [[] for _ in actions]
    for turn in range(times):
        order = list(enumerate(actions))
        for i, action in order if turn % 2 else reversed(order):
            taken[i].append(seconds(action))
    return [statistics.median(one) for one in taken]


def profiles(every: bool) -> Iterator[Row]:
    """A profile of every cut, halves really run among it, against the time of its own passes."""
    import dscwb

    for model, side, sizes in (
        ("efficientnet_b0", 224, (1,)),
        ("efficientnet_b0", 224, SEVEN),
        ("mobilenetv3_small_100", 64, SEVEN),  # passes as short as a GPU's
    ):
        captured = dscwb.capture(model, side, check=False)
        ratios, totals, passes_s = [], [], []
        for _ in range(PROFILES if len(sizes) == 1 else 1):
            start = time.perf_counter()
            profile = dscwb.profile(captured, sizes, threads=1, passes=PASSES, budget_s=0)
            took = time.perf_counter() - start
            totals.append(PASSES * sum(map(profile.total_s, sizes)))
            passes_s.append(sum(map(_passes_s, profile.passes)))
            ratios.append(took / passes_s[-1])
        how = ", ".join(f"{ratio:.2f}" for ratio in ratios) + f" in turn; {profile.cuts} cuts, "
        how += f"passes {passes_s[-1]:.2f} s, of {PASSES} plain ones alone {totals[-1]:.2f} s"
        what = f"profile / its passes, {model} at {len(sizes)} batch size{'s'[: len(sizes) > 1]}"
        yield Row(what, statistics.median(ratios), bound=PROFILE_BOUND, how=how)


def _passes_s(passes: Passes) -> float:
    """Seconds of all passes at one batch size that count."""
    halves = sum(int(one.head_ns.sum() + one.tail_ns.sum()) for one in passes.separate)
    return (int(passes.plain_ns.sum() + passes.stamped_ns[:, -1].sum()) + halves) * 1e-9


def stamps(every: bool) -> Iterator[Row]:
    """A clock whose every stamp takes 25 µs: heads against executed ones, and the time it takes."""
    from benchmarks.stamps import STAMP_NS, measured

    for found in measured():
        head, worst, tail = found.errors()
        some = found.profiles[0].passes[0].stamps_per_pass
        states = ", ".join(
            f"{profile.passes[0].rounds} rounds {profile.status(1)} (IQR/T {profile.spread(1):.0%})"
            for profile in found.profiles
        )
        how = (
            f"{some} of {found.profiles[0].cuts - 2} cuts a pass, all would cost "
            f"{found.stamped_all - 1:.0%} of it; tails {100 * tail:.2f} %; {states}"
        )
        what = f"stamps of {STAMP_NS / 1e3:g} µs, {found.model}: heads"
        yield Row(f"{what}, median", 100 * head, "%", BIAS_BOUND, how)
        yield Row("  at the worst cut", 100 * worst, "%", WORST_BOUND)
        ratio = statistics.median(dear / free for dear, free in found.took_s)
        how = ", ".join(f"{dear:.1f} s / {free:.1f} s" for dear, free in found.took_s)
        yield Row("  time / that with a free clock", ratio, bound=DEAR_BOUND, how=how)


def separately(every: bool) -> Iterator[Row]:
    """All heads and tails of ResNet-18, really run, against one stamped pass."""
    import torch

    import dscwb
    from dscwb.measuring.clocks import CpuClock

    captured = dscwb.capture("resnet18", 224)
    halves = [captured.split(cut) for cut in dscwb.all_cuts(captured.graph)]
    inputs, stamped, clock = captured.inputs(1), captured.stamped(), CpuClock(len(halves))

    def at_once() -> None:
        clock.begin([True] * len(halves))
        stamped(*inputs, clock)
        clock.end()

    def apart() -> None:
        for head, tail in halves:
            tail(head(*inputs))

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        at_once()
        ours, theirs = alternate(SEPARATE, at_once, apart)
    torch.set_num_threads(threads)
    how = f"{len(halves)} cuts; {theirs:.2f} s / {1e3 * ours:.1f} ms, making the halves not counted"
    yield Row("every head and tail / one stamped pass, resnet18", theirs / ours, how=how)


def repeats(every: bool) -> Iterator[Row]:
    """How well profiles agree: with themselves, with a second run, with halves really run."""
    import dscwb

    captured = dscwb.capture("efficientnet_b0", 224)
    first, second = (dscwb.profile(captured, threads=1, seed=seed) for seed in (0, 1))
    noise = f"raw noise (IQR/T) {first.spread(1):.1%}"
    rounds = len(first.passes[0].plain_ns)
    split = f"{noise}; {rounds} rounds, {_width(first):.1%} half-width"
    yield from _apart("split-half error, efficientnet_b0", *_halves(first, every_other), split)
    yield from _apart("  first against second half", *_halves(first, one_half), "the drift")
    noise += f" and {second.spread(1):.1%}"
    yield from _apart("run-to-run error", first, second, noise)
    error = dscwb.model_error(first, 1)
    how = (
        f"± {100 * error.head_half_width:.2f}, median of all runs at {error.cuts} cuts; "
        f"tails {100 * error.tail:+.2f} ± {100 * error.tail_half_width:.2f} %"
    )
    yield Row("one-pass heads against executed ones", 100 * abs(error.head), "%", BIAS_BOUND, how)
    yield _shipped_error()
    stamped_s = dscwb.calibration(first, 1)[0] * first.total_s(1)
    how = f"{first.cuts} cuts; stamped over plain {stamped_s / first.total_s(1):.3f}; an estimate"
    yield Row(
        "every head and tail once / one stamped pass",
        first.cuts * first.total_s(1) / stamped_s,
        how=how,
    )


def _apart(what: str, a: dscwb.Profile, b: dscwb.Profile, how: str) -> Iterator[Row]:
    """By how much T and, in the median over cuts, the heads of two profiles differ, in % of T."""
    import numpy as np

    total = a.total_s(1)
    yield Row(f"{what}: T", 100 * abs(b.total_s(1) / total - 1), "%", AGREE_BOUND, how)
    heads = float(np.median(np.abs(a.head_s(1) - b.head_s(1))) / total)
    shares = float(np.median(np.abs(a.head_s(1) / total - b.head_s(1) / b.total_s(1))))
    how = f"as shares of their own T: {100 * shares:.2f} %"
    yield Row(f"{what}: heads", 100 * heads, "%", AGREE_BOUND, how)


def _width(profile: dscwb.Profile) -> float:
    from dscwb.profiles.passes import half_width

    return half_width(profile.passes[0].plain_ns, profile.passes[0].stamped_ns)


def _shipped_error() -> Row:
    """One-pass heads against executed ones in all profiles of ``data``."""
    import dscwb
    from benchmarks.model_error import measured_profiles

    errors = [
        100 * error.head
        for profiles in measured_profiles().values()
        for profile in profiles
        for size in profile.batch_sizes
        if (error := dscwb.model_error(profile, size)).cuts
    ]
    middle = statistics.median(map(abs, errors))
    span = f"{min(errors):+.1f} to {max(errors):+.1f} %"
    how = f"without sign; {len(errors)} models and batch sizes, {span}"
    return Row("  in the shipped profiles, median", middle, "%", BIAS_BOUND, how)


def every_other(rounds: int) -> tuple[slice, slice]:
    return slice(0, None, 2), slice(1, None, 2)


def one_half(rounds: int) -> tuple[slice, slice]:
    return slice(0, rounds // 2), slice(rounds // 2, None)


def _halves(
    profile: dscwb.Profile, cut: Callable[[int], tuple[slice, slice]]
) -> list[dscwb.Profile]:
    """Two profiles, each of half the rounds."""
    return [
        replace(
            profile,
            passes=tuple(
                replace(p, plain_ns=p.plain_ns[part], stamped_ns=p.stamped_ns[part], separate=())
                for p in profile.passes
                for part in [cut(len(p.plain_ns))[which]]
            ),
        )
        for which in (0, 1)
    ]


def rooflines(every: bool) -> Iterator[Row]:
    """Error of modelled times on models left out of the fit, over the shipped measurements."""
    from benchmarks import model_error

    totals, _ = model_error.run()
    for machine, rows in totals.groupby("machine", sort=False):
        errors = {"T": (rows.t_ratio - 1).abs(), "worst share of a head": rows.share_error_worst}
        for what, error in errors.items():
            how = f"{machine}: {len(rows)} rows; worst {100 * error.max():.0f} %"
            value = 100 * error.median()
            yield Row(f"roofline, models left out: {what}, median", value, "%", how=how)


def decisions(every: bool) -> Iterator[Row]:
    """Best splits of 200 cuts by 64 batch sizes by 1,000 rates, and a bootstrap of a whole map."""
    import numpy as np

    import dscwb
    from benchmarks import decide
    from dscwb.envelope import best_split

    a, bits, rates = decide.lines()
    ways: list[Callable[[], object]] = [
        lambda: best_split(a, bits, rates),
        lambda: decide.per_batch(a, bits, rates),
        lambda: decide.loops(a, bits, rates),
        lambda: decide.groupby(a, bits, rates),
    ]
    envelope, brute, loop, group = (
        np.asarray(way()) for way in ways
    )  # also a first run, which no one times
    agree = (envelope == brute).mean(), (loop == brute[:1]).mean(), (group == brute[:1]).mean()
    own, by_batch, by_loop, by_group = alternate(SWEEPS, *ways)
    size = f"{decide.CUTS} × {decide.BATCHES} × {decide.RATES}, {min(agree):.2%} equal"
    yield Row("decide: envelopes", 1e3 * own, "ms", DECIDE_BOUND_MS, size)
    yield Row("decide: envelopes / NumPy per batch", own / by_batch, bound=1.0)
    for what, one in (("Python loops", by_loop), ("pandas groupby", by_group)):
        how = f"{1e3 * one:.0f} ms for one batch size of {decide.BATCHES}"
        yield Row(f"decide: {what} / envelopes", one * decide.BATCHES / own, how=how)
    peak = decide.peak_bytes(ways[0]) / 1e6
    yield Row("decide: extra memory", peak, "MB", DECIDE_BOUND_MB)
    again = decide.real_study()
    study = again()
    (took,) = alternate(SWEEPS, again)
    how = f"{len(study.splits)} cuts of {study.edge.graph.model}, {study.best.size:,} states"
    yield Row("decide: whole sweep, cost lines included", 1e3 * took, "ms", None, how)
    edge = dscwb.shipped_profile("efficientnet_b0")
    mapped = dscwb.sweep(
        edge,
        dscwb.scale_profile(edge, 20),
        link=dscwb.Link(),
        input_encoding="uint8",
        feature_encoding="float32",
        data_rates_bps=np.arange(1, 128) * 8e6,
    )
    (took,) = alternate(PROFILES, lambda: mapped.confidence(1000).undecided)
    how = f"1,000 replicates, {len(mapped.batch_sizes)} × 127 states"
    yield Row("decide: bootstrap of a map", took, "s", BOOTSTRAP_BOUND_S, how)


def overhead(every: bool) -> Iterator[Row]:
    """A request over loopback but for head and tail, against a bare socket's echo."""
    from benchmarks.overhead import measured

    found = measured()
    bare = found["bare socket"]
    how = (
        f"{1e3 * found['machinery']:.2f} ms beside head and tail ({1e3 * found['halves']:.2f} ms), "
        f"echo {1e3 * bare:.2f} ms; {found['bytes'] / 1e3:.0f} kB each way"
    )
    yield Row(
        "request / bare echo: more by", 1e3 * (found["machinery"] - bare), "ms", OVERHEAD_MS, how
    )
    least = found["bare socket and model"]
    how = f"{1e3 * found['dscwb']:.2f} ms / {1e3 * least:.2f} ms; no checks, no names, one client"
    yield Row(
        "  / bare socket that runs the model: more by",
        1e3 * (found["dscwb"] - least),
        "ms",
        how=how,
    )
    for way in ("pyzmq", "pickle over a socket"):
        yield Row(f"  {way}: more by", 1e3 * (found[way] - bare), "ms", how="an echo, no model")


def replays(every: bool) -> Iterator[Row]:
    """What the controller costs on a device, and a step of a trace that is replayed."""
    from benchmarks import playing

    study, day, hour = playing.real_study(), playing.day(), playing.packets()
    took = playing.decision_s(study)
    how = f"choose and observe; {len(study.policy().planes(1))} planes"
    yield Row("controller: a decision", 1e6 * took, "µs", CHOOSE_US, how)
    took, taken = playing.step_s(study, day)
    how = f"{len(taken):,} requests in {took * len(taken):.1f} s"
    yield Row("replay: the controller, a day of 1 s samples", 1e9 * took, "ns", STEP_NS, how)
    for name, trace in ("an hour of it", playing.part(day, 3600)), ("a rate a step", hour):
        took, jumped = playing.step_s(study, trace)
        plain, taken = playing.step_s(study, trace, jump=False)
        how = (
            f"{1e9 * took:.0f} ns / {1e9 * plain:.0f} ns, {'' if jumped == taken else 'NOT '}equal"
        )
        yield Row(f"  {name}, / asked every time", took / plain, how=how)
    took = playing.table_s(study, playing.part(day, 3600))
    how = f"a step and strategy; {len(study.splits)} fixed splits and the oracle"
    yield Row("replay: the table", 1e9 * took, "ns", STEP_NS, how)


def fleets(every: bool) -> Iterator[Row]:
    """A request of a fleet, beside simpy doing the same work in the same run."""
    from benchmarks import fleets

    fixed, requests, mean_s = fleets.ours(fleets.SPLIT)
    other, other_mean_s = fleets.with_simpy()
    fixed = min(fixed, fleets.ours(fleets.SPLIT)[0])
    own, *_ = fleets.ours("selfish")
    size = f"{fleets.DEVICES} devices, {fleets.WORKERS} workers, {requests:,.0f} requests"
    yield Row("fleet: a request, each decided by its controller", 1e6 * own, "µs", REQUEST_US, size)
    how = (
        f"{1e6 * fixed:.1f} µs; mean latency {1e3 * mean_s:.3f} ms, simpy {1e3 * other_mean_s:.3f}"
    )
    yield Row("fleet: simpy / a request of a fixed split", other / fixed, how=how)
    short, long = (fleets.peak_bytes(seconds) for seconds in (30, 300))
    how = f"{short / 1e6:.2f} MB, {long / 1e6:.2f} MB"
    yield Row("fleet: memory of ten times as long / of one", long / short, how=how)


SECTIONS: dict[str, Callable[[bool], Iterator[Row]]] = {
    "import": imports,
    "capture": captures,
    "profile": profiles,
    "stamps": stamps,
    "separate": separately,
    "repeat": repeats,
    "roofline": rooflines,
    "decide": decisions,
    "overhead": overhead,
    "replay": replays,
    "fleet": fleets,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, a row as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--only", choices=SECTIONS, nargs="+", help="these sections")
    parser.add_argument("--all", action="store_true", help="capture all 15 EfficientNets")
    options = parser.parse_args(arguments)
    for section in options.only or SECTIONS:
        for row in SECTIONS[section](options.all):
            print(row, flush=True)


if __name__ == "__main__":
    main()
