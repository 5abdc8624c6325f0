"""What both ends hold: the same captured model, proved by its graph and its weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import Lock
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from dscwb.capturing.captured import CapturedModel
from dscwb.cost import split_name
from dscwb.cuts import Cut, all_cuts
from dscwb.graph import TensorSpec
from dscwb.running.messages import CONSTANT, TENSOR, FrameError, Hello, Result, WireTensor
from dscwb.units import FULL_OFFLOADING, NO_OFFLOADING

Half = fx.GraphModule


@dataclass(frozen=True, eq=False)
class End:
    """A captured model as one of two ends uses it: cuts by their names, halves made once.

    Attributes:
        captured: The model.
    """

    captured: CapturedModel
    _halves: dict[str, tuple[Half, Half]] = field(default_factory=dict, init=False, repr=False)
    _making: Lock = field(default_factory=Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be split between two machines."""
        if self.captured.graph.resident:
            raise ValueError(
                f"{self.captured.graph.model} keeps state where its layers run "
                f"({', '.join(self.captured.graph.resident)}); running it split is not built. "
                "Capture it without resident=."
            )

    @cached_property
    def cuts(self) -> dict[str, Cut]:
        """Every cut by the name that a policy calls it; those after blocks win over operations."""
        graph = self.captured.graph
        return {split_name(cut): cut for kind in ("op", "auto") for cut in all_cuts(graph, kind)}

    def halves(self, name: str) -> tuple[Half, Half]:
        """Head and tail at a cut, made when they are first asked for.

        Raises:
            ValueError: The model has no such cut.
        """
        if name not in self._halves:
            with self._making:
                if name not in self._halves:
                    self._halves[name] = self.captured.split(self.cut(name))
        return self._halves[name]

    def cut(self, name: str) -> Cut:
        """A cut by its name.

        Raises:
            ValueError: The model has no such cut.
        """
        if name not in self.cuts:
            some = [cut for cut in self.cuts if cut not in (FULL_OFFLOADING, NO_OFFLOADING)][-3:]
            raise ValueError(
                f"{self.captured.graph.model} has no cut {name!r}; there are {FULL_OFFLOADING}, "
                f"{NO_OFFLOADING}, {', '.join(some)}, ..."
            )
        return self.cuts[name]

    @cached_property
    def hello(self) -> Hello:
        """What is told to the other end, which must hold the same."""
        weights = replace(self.captured, own_weights=True).weights_sha256()
        graph = self.captured.graph
        return Hello(
            model=graph.model[:500],
            graph=graph.fingerprint(),
            weights=weights,
            dtype=self.captured.dtype,
        )

    def difference(self, other: Hello) -> str:
        """What differs between both ends, in words; empty where they hold the same."""
        own = self.hello
        pairs = {
            "protocol": (own.protocol, other.protocol),
            "model": (own.model, other.model),
            "graph": (own.graph, other.graph),
            "element type": (own.dtype, other.dtype),
            "weights (SHA-256)": (own.weights[:12], other.weights[:12]),
        }
        return "; ".join(f"{what}: {b}, here {a}" for what, (a, b) in pairs.items() if a != b)

    def changed_constant(self, inputs: Sequence[torch.Tensor]) -> str:
        """An input without a batch axis that differs from the capture's, which the server holds."""
        for i, name, own in self._constants:
            if not torch.equal(own, inputs[i]):
                return name
        return ""

    @cached_property
    def _constants(self) -> list[tuple[int, str, torch.Tensor]]:
        """The inputs without a batch axis: place, name and value."""
        pairs = zip(self.captured.graph.inputs, self.captured.example_inputs, strict=True)
        return [(i, spec.name, x) for i, (spec, x) in enumerate(pairs) if not spec.batch_axes]

    @cached_property
    def _output(self) -> tuple[list[Any], Callable[..., Any]]:
        """The output's leaves in the program, nodes among them, and what puts them together."""
        given: Any = list(self.captured.module.graph.nodes)[-1].args[0]
        if isinstance(given, fx.Node):
            if "val" in given.meta:
                return [given], lambda leaf: leaf
            return list(given.args), given.target  # type: ignore[return-value]  # its own class
        leaves, structure = pytree.tree_flatten(_plain(given))
        return leaves, lambda *leaves: pytree.tree_unflatten(leaves, structure)

    def told(self, output: Any) -> tuple[list[torch.Tensor], tuple[Any, ...]]:
        """The tensors of an output, and its leaves as `Result` has them."""
        tensors, leaves = leaves_of(output)
        pairs = zip(leaves, self._output[0], strict=True)
        return tensors, tuple(x if isinstance(own, fx.Node) else CONSTANT for x, own in pairs)

    def rebuilt(self, result: Result, tensors: Sequence[torch.Tensor]) -> Any:
        """The model's output of what the server sent.

        Raises:
            FrameError: The model gives no such output.
        """
        own, put_together = self._output
        if (
            [one == CONSTANT for one in result.leaves] != [not isinstance(x, fx.Node) for x in own]
        ) or result.leaves.count(TENSOR) != len(tensors):
            raise FrameError("an output of other parts than this model's.")
        rest = iter(tensors)
        pairs = zip(result.leaves, own, strict=True)
        return put_together(
            *(next(rest) if x == TENSOR else held if x == CONSTANT else x for x, held in pairs)
        )


def _plain(value: Any) -> Any:
    """FX's own lists and dictionaries as ordinary ones."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return (list if isinstance(value, list) else tuple)(map(_plain, value))
    return value


def leaves_of(output: Any) -> tuple[list[torch.Tensor], tuple[Any, ...]]:
    """The tensors of an output, and its leaves, each tensor as the word for one."""
    if isinstance(output, torch.Tensor):
        return [output], (TENSOR,)
    leaves = pytree.tree_leaves(output)
    tensors = [x for x in leaves if isinstance(x, torch.Tensor)]
    return tensors, tuple(TENSOR if isinstance(x, torch.Tensor) else x for x in leaves)


def settled(device: torch.device) -> float:
    """Seconds on the clock `time.perf_counter`, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    return time.perf_counter()


def batch_size_of(specs: tuple[TensorSpec, ...], tensors: tuple[WireTensor, ...]) -> int:
    """The batch size of what was sent for a frontier.

    Raises:
        FrameError: These are not the tensors of this frontier at any batch size.
    """
    if len(specs) != len(tensors):
        raise FrameError(f"{len(tensors)} tensors for a cut that {len(specs)} cross.")
    size = 1
    for spec, got in zip(specs, tensors, strict=True):
        if spec.batch_axes and len(got.shape) == len(spec.shape):
            axis = spec.batch_axes[0]
            size = got.shape[axis] // max(1, spec.shape[axis])
            break
    for spec, got in zip(specs, tensors, strict=True):
        expected = tuple(
            length * size if axis in spec.batch_axes else length
            for axis, length in enumerate(spec.shape)
        )
        if size < 1 or got.shape != expected or got.dtype != spec.dtype:
            raise FrameError(
                f"{spec.name}: {got.dtype}{list(got.shape)} where the cut has "
                f"{spec.dtype}{list(expected)}."
            )
    return size
