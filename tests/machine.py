"""A machine whose time passes only where a model runs on it: tests know every nanosecond."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch

from dscwb.capturing.captured import CapturedModel
from dscwb.capturing.inputs import Call
from dscwb.cuts import Cut
from dscwb.graph import Block, Layer, ModelGraph
from dscwb.measuring.clocks import CpuClock
from tests.tiny import spec

Job = tuple[str, int]  # kind of pass (whole, stamped, head, tail), batch size


@dataclass
class Machine:
    """Runs a chain of layers.

    Attributes:
        layers_ns: Time of each layer for one sample.
        slower: Factor on the time of the n-th pass.
        fail: Called before each pass with its kind and batch size; raises what it likes.
        now_ns: The time.
        log: What ran, in order.
        settings: (inference mode, garbage collector, threads) of each pass.
    """

    layers_ns: Sequence[int] = (100, 300, 600)
    slower: Callable[[int], float] = lambda n: 1.0
    fail: Callable[[str, int], None] = lambda kind, batch_size: None
    tail_saves_ns: int = 0
    now_ns: int = 0
    log: list[Job] = field(default_factory=list)
    settings: list[tuple[bool, bool, int]] = field(default_factory=list)

    def run(
        self,
        kind: str,
        batch_size: int,
        first: int,
        last: int,
        clock: Any = None,
        wanted: Sequence[bool] = (),
    ) -> None:
        """Run layers `first` to `last`, counted from one; stamp after those that are wanted."""
        self.fail(kind, batch_size)
        factor = batch_size * self.slower(len(self.log))
        self.log.append((kind, batch_size))
        threads = torch.get_num_threads()
        self.settings.append((torch.is_inference_mode_enabled(), gc.isenabled(), threads))
        self.now_ns -= self.tail_saves_ns if kind == "tail" else 0
        for k in range(first, last + 1):
            self.now_ns += round(self.layers_ns[k - 1] * factor)
            if clock is not None and wanted[k]:
                clock.stamp(k)

    @property
    def cuts(self) -> int:
        return len(self.layers_ns) + 1

    def clock(self, stamp_ns: int = 0) -> CpuClock:
        """This machine's clock; each stamp inside a pass takes so long."""
        return _CostlyClock(self, stamp_ns)

    def model(self, widths: Sequence[int] | None = None) -> CapturedModel:
        """A chain whose layers leave so many floats, 100 going in."""
        widths = widths or [100] * len(self.layers_ns)
        names = ["x", *(f"l{k}" for k in range(1, self.cuts))]
        sizes = dict(zip(names, [100, *widths], strict=True))
        layers = tuple(
            Layer("linear", after, (before,), (spec(after, sizes[after]),))
            for before, after in pairwise(names)
        )
        blocks = (Block(names[-1], "Linear", len(layers)),)
        graph = ModelGraph("chain", (spec("x", 100),), layers, (names[-1],), blocks)
        example = (torch.zeros(2, 100),)
        return _Model(self, graph, example)


class KilledError(BaseException):
    """Like SIGKILL: nothing in the package catches it."""


def stop_after(passes: int, error: type[BaseException] = KilledError) -> Callable[[str, int], None]:
    """Let so many passes run, then fail: a machine's `fail`."""
    left = iter(range(passes))

    def fail(kind: str, batch_size: int) -> None:
        if next(left, None) is None:
            raise error

    return fail


class Event:
    """What torch.cuda.Event gives, on a stream that is always up to date."""

    def __init__(self, machine: Machine, calls: list[str] | None = None) -> None:
        self.machine, self.calls = machine, [] if calls is None else calls

    def record(self) -> None:
        self.calls.append("record")
        self.at_ns = self.machine.now_ns

    def synchronize(self) -> None:
        self.calls.append("synchronize")

    def elapsed_time(self, end: Event) -> float:
        return (end.at_ns - self.at_ns) / 1e6


class _CostlyClock(CpuClock):
    def __init__(self, machine: Machine, stamp_ns: int) -> None:
        super().__init__(machine.cuts, lambda: machine.now_ns)
        self._machine, self._stamp_ns = machine, stamp_ns

    def stamp(self, cut: int) -> None:
        super().stamp(cut)
        self._machine.now_ns += self._stamp_ns


class _Model(CapturedModel):
    def __init__(self, machine: Machine, graph: ModelGraph, example: tuple[torch.Tensor]) -> None:
        last = len(graph.layers)
        vars(self).update(
            machine=machine,
            graph=graph,
            call=Call(example, {"x": 0}, ("x",), (), None),
            device=torch.device("cpu"),
            dtype="float32",
            module=lambda x: machine.run("whole", len(x), 1, last),
        )

    def stamped(self) -> Any:
        machine, last = vars(self)["machine"], len(self.graph.layers)
        every = [True] * (last + 1)

        def run(x: torch.Tensor, clock: Any, wanted: Sequence[bool] = every) -> None:
            machine.run("stamped", len(x), 1, last, clock, wanted)

        return run

    def split(self, cut: Cut) -> Any:
        machine, last = vars(self)["machine"], len(self.graph.layers)

        def head(x: torch.Tensor) -> tuple[torch.Tensor]:
            machine.run("head", len(x), 1, cut.index)
            return (x,)

        return head, lambda sent: machine.run("tail", len(sent[0]), cut.index + 1, last)
