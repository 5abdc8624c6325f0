"""Layer times of other tools: the text of a file becomes one pass's layers, in order.

trtexec, TFLite's benchmark_model, ONNX Runtime, torch.profiler and Scission each time single
layers. What a cut sends they do not know (only Scission does), so a `ModelGraph` says it, and here
their layers are found again in that graph.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dscwb.cuts import Cut, all_cuts
from dscwb.graph import ModelGraph
from dscwb.units import DTYPE_BYTES, plain_text

INPUT, OUTPUT = "input", "output"
"""Names of the splits for full offloading (nothing in the head) and no offloading."""
TRACE = "a torch.profiler trace"
US, MS = 1e-6, 1e-3  # seconds
LARGEST = 9e9
"""Of seconds, samples and bytes of one payload: 285 years in nanoseconds fit 64 bits."""
NPY_HEADER = 128  # bytes that Scission counts with each tensor, which it saves by numpy.save
PRODUCT = re.compile(
    r"(?i)(?:^|[\W_])(?:conv|gemm|matmul|fully_connected|batch_matmul|fc|dense|linear)"
)
"""An operation that does the arithmetic of its layer, by the names that the tools give it."""
PRODUCTS = ("conv", "linear", "addmm", "matmul", "mm", "bmm", "baddbmm")
PIECES = r"\s\+\s|\s\|\|\s"
"""What parts the names of layers that were fused into one."""

Split = tuple[str, int, float]
"""Its name, the number of the tool's layers in its head, and the bytes that cross it."""


class Timed(NamedTuple):
    """A layer as a tool names it.

    Attributes:
        kind: Its operation; empty where only the name tells it.
        elements: Elements that it makes, for the whole batch; 0 where that is not known.
    """

    name: str
    kind: str = ""
    elements: int = 0


@dataclass(frozen=True, eq=False)
class LayerTimes:
    """What a tool measured.

    Attributes:
        tool: What to call the file in a sentence.
        layers: In the order in which they run.
        seconds: ``(run, layer)``.
        payload_bytes: What crosses a cut after each layer; None where the tool does not know it.
        note: What a reader of the numbers should know.
    """

    tool: str
    layers: tuple[Timed, ...]
    seconds: NDArray[np.float64]
    payload_bytes: tuple[float, ...] | None = None
    note: str = ""

    def splits(
        self, graph: ModelGraph | None, batch_size: int
    ) -> tuple[LayerTimes, list[Split], str]:
        """These times, of single runs; where their sums are heads and tails; how that is known.

        Raises:
            ValueError: The payloads are known to nobody, or the graph is of another model.
        """
        times = self if graph is None else _of_one_run(self, graph)
        if not times.layers or not (times.seconds.sum(axis=1) > 0).all():
            raise ValueError(f"it is {self.tool} without layers; switch the profiling of layers on")
        numbers = np.append(times.seconds, times.payload_bytes or ())
        if not (np.abs(numbers) < LARGEST).all():
            raise ValueError(f"it is {self.tool} with a number beyond {LARGEST:g}; export it anew")
        if times.payload_bytes is not None:
            return times, _own_splits(times, batch_size), times.note
        if graph is None:
            raise ValueError(
                f"it is {self.tool}, without payloads: name the model whose graph knows them, with "
                "--model NAME, or graph=dscwb.capture(model, ...).graph"
            )
        found, how = _places(times, graph, batch_size)
        cuts = all_cuts(graph)
        splits = [
            (cuts[k].name, i, float(sum(spec.nbytes(batch_size) for spec in cuts[k].frontier)))
            for k, i in sorted(found.items())
        ]
        if len(splits) < 3:
            raise ValueError(
                f"it is {self.tool}, and no cut of {graph.model!r} lies between its layers"
            )
        return times, splits, how


def _own_splits(times: LayerTimes, batch_size: int) -> list[Split]:
    """After each layer but the first, which hands the input on; sizes as whole elements."""
    element = DTYPE_BYTES["float32"] * batch_size
    sent = [float(element * max(1, round(size / element))) for size in times.payload_bytes or ()]
    last = len(times.layers)
    inner = [(times.layers[i].name, i + 1, sent[i]) for i in range(1, last - 1)]
    return [(INPUT, 0, sent[0]), *inner, (OUTPUT, last, 0.0)]


def layer_times(text: str, model: str | None = None) -> LayerTimes | None:
    """The layers of a file, or None if no tool known here wrote it; `model` picks one of several.

    Raises:
        ValueError: A tool's file that cannot be used, with the remedy.
    """
    try:
        if text.lstrip()[:1] in ("[", "{"):
            return _json(text)
        if re.search(r"(?im)^[\s\[]*node type\]?\s*[,\t]", text):
            return _tflite(text)
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"it is damaged ({reason}); export it anew") from None
    tables = scission_models(text)
    return _scission(tables, model) if tables else None


def scission_models(text: str) -> dict[str, dict[str, list[str]]]:
    """The tables of a Scission file by model, each with its rows by their first cell."""
    found: dict[str, dict[str, list[str]]] = {}
    rows = list(csv.reader(text.splitlines()))
    for before, row in pairwise(rows):
        if row[:1] == ["layers"] and len(before) == 1:
            found[before[0]] = {}
        if found and row[:1] and row[0] in ("layers", "output", "times"):
            found[list(found)[-1]].setdefault(row[0], row[1:])
    return found


def _scission(tables: Mapping[str, Mapping[str, list[str]]], model: str | None) -> LayerTimes:
    if model is None and len(tables) == 1:
        model = next(iter(tables))
    if model is None or model not in tables:
        raise ValueError(f"it is a Scission table of {', '.join(tables)}; name one, --model NAME")
    try:
        rows = tables[model]
        cells = zip(rows["layers"], rows["output"], rows["times"], strict=True)
        table = [(name, float(size) * 2**20, float(time) * MS) for name, size, time in cells]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"its Scission table of {model} is damaged ({error}); copy it anew"
        ) from None
    return LayerTimes(
        "a Scission table",
        tuple(Timed(f"layer {plain_text(name)}") for name, _, _ in table),
        np.array([[time for _, _, time in table]]),
        tuple(size - NPY_HEADER for _, size, _ in table),
        "sums of layers that ran alone, each with its own call",
    )


def _one_run(tool: str, rows: Sequence[tuple[str, str, float]]) -> LayerTimes:
    """Layers of one run: name, kind, seconds."""
    layers = tuple(Timed(name, kind) for name, kind, _ in rows)
    return LayerTimes(tool, layers, np.array([[seconds for *_, seconds in rows]]))


def _tflite(text: str) -> LayerTimes:
    """The last table in run order; before it may stand that of the initialisation.

    As CSV the tables have no titles, and after each comes one of its slowest layers, to be left.
    """
    tables: list[list[tuple[str, str, float]]] = []
    columns: list[str] = []
    ordered = True
    for line in text.splitlines():
        if "====" in line or not line.strip():
            columns, ordered = [], "====" not in line or "Run Order" in line
            continue
        split = re.split("[,\t]", line.strip(), maxsplit=max(0, len(columns) - 1))
        cells = [cell.strip() for cell in split]
        if cells[0].strip("[]").lower() == "node type":
            columns = [cell.strip("[]").lower().replace(" ", "_") for cell in cells]
            if not {"name", "avg_ms"} <= set(columns):
                columns = []  # the summary by node type
            elif len(set(columns)) < len(columns):
                raise ValueError("it has a table of layers with a column twice; export it anew")
            elif ordered:
                tables.append([])
        elif columns and ordered and len(cells) == len(columns):
            row = dict(zip(columns, cells, strict=True))
            try:
                seconds = float(row["avg_ms"]) * MS * float(row.get("times_called") or 1)
            except ValueError:
                columns = []  # what follows the table
                continue
            tables[-1].append((row["name"], row["node_type"], seconds))
    kept: list[list[tuple[str, str, float]]] = []
    for table in tables:
        if table and not (kept and set(table) <= set(kept[-1])):
            kept.append(table)
    return _one_run("a layer table of TFLite's benchmark_model", kept[-1] if kept else [])


def _json(text: str) -> LayerTimes:
    try:
        found = json.loads(text)
    except ValueError:
        try:  # ONNX Runtime writes its last bracket when the session ends, often never
            found = json.loads(text.rstrip().rstrip(",") + "]")
        except ValueError as error:
            raise ValueError(f"it is damaged JSON ({error}); export it anew") from None
    traced = isinstance(found, dict) and found.get("traceEvents")
    some = traced if isinstance(traced, list) else found
    events = [one for one in some if isinstance(one, dict)] if isinstance(some, list) else []
    if isinstance(traced, list):
        return _torch_trace(events)
    if timed := [one for one in events if "averageMs" in one]:
        rows = [
            (str(one["name"]), "", float({"medianMs": one["averageMs"], **one}["medianMs"]) * MS)
            for one in timed
        ]
        return _one_run("a trtexec layer profile", rows)
    if any(one.get("cat") in ("Node", "Session") for one in events):
        return _onnx_runtime([one for one in events if one.get("cat") == "Node"])
    raise ValueError(
        "it is JSON of no tool known here; known are trtexec --exportProfile, ONNX Runtime's "
        "profile and torch.profiler's chrome trace"
    )


def _onnx_runtime(events: Sequence[dict[str, Any]]) -> LayerTimes:
    """Runs that follow each other; each node has a key of its own."""
    tool, ending = "an ONNX Runtime profile", "_kernel_time"
    nodes = [
        (str(e["name"]).removesuffix(ending), e.get("args") or {}, float(e["dur"]) * US)
        for e in events
        if str(e["name"]).endswith(ending)
    ]
    keys = [(name, arguments.get("node_index", "")) for name, arguments, _ in nodes]
    length = len(set(keys))
    if any(key != keys[i % length] for i, key in enumerate(keys)):
        raise ValueError(
            f"it is {tool} whose runs differ, or whose nodes have no names; profile one input size"
        )
    whole = len(keys) // max(1, length) * length  # the last run may have been cut off
    seconds = np.array([time for *_, time in nodes[:whole]]).reshape(-1, max(1, length))
    layers = []
    for name, arguments, _ in nodes[:length]:
        shape: list[int] = next(iter((arguments.get("output_type_shape") or [{}])[0].values()), [])
        elements = math.prod(shape) if shape else 0
        layers.append(Timed(name, str(arguments.get("op_name", "")), elements))
    return LayerTimes(tool, tuple(layers), _warm(seconds))


def _torch_trace(events: Sequence[dict[str, Any]]) -> LayerTimes:
    if any(e.get("cat") == "kernel" for e in events):
        raise ValueError(
            f"it is {TRACE} of a GPU, where operations only start the work: their times are not "
            "the layers'; measure there with `dscwb profile MODEL --device cuda`"
        )
    done, rows = -math.inf, []
    timed = [e for e in events if e.get("cat") == "cpu_op" and e.get("ph") == "X"]
    for event in sorted(timed, key=lambda e: (e["ts"], -e["dur"])):
        if event["ts"] >= done:  # not within another operation
            name = str(event["name"]).removeprefix("aten::")
            rows.append((name, name, float(event["dur"]) * US))
            done = event["ts"] + event["dur"]
    return _one_run(TRACE, rows)


def _warm(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without the first run, where there are others: it allocates and chooses kernels."""
    return times[min(1, max(0, len(times) - 1)) :]


def _of_one_run(times: LayerTimes, graph: ModelGraph) -> LayerTimes:
    """A trace of several runs as such: as many as it holds the graph's arithmetic."""
    wanted = sum(bool(layer.flops) for layer in graph.layers)
    heavy = {layer.op for layer in graph.layers if layer.flops}
    runs = sum(layer.kind in heavy for layer in times.layers) // max(1, wanted)
    length = len(times.layers) // max(1, runs)
    one = times.layers[:length]
    if times.tool != TRACE or runs < 2 or times.layers != one * runs:
        return times
    return replace(times, layers=one, seconds=_warm(times.seconds.reshape(runs, length)))


def _places(times: LayerTimes, graph: ModelGraph, batch_size: int) -> tuple[dict[int, int], str]:
    """How many of the layers each cut's head holds, by the cut's index, and how that is known.

    Cuts that lie inside a fused layer are left out.

    Raises:
        ValueError: The layers are not those of the graph.
    """
    last = {0: 0, len(graph.layers): len(times.layers)}
    if times.tool == TRACE:
        return _by_operation(times, graph) | last, "matched by operation"
    if by_name := _by_name(times, graph):
        return by_name | last, "matched by the modules in their names"
    here = [
        (k, layer.outputs[0].elements(batch_size))
        for k, layer in enumerate(graph.layers)
        if layer.op.startswith(PRODUCTS) and layer.flops
    ]
    there = [
        (i, layer.elements) for i, layer in enumerate(times.layers) for _ in range(_products(layer))
    ]
    sizes = [[size for _, size in here], [size for _, size in there]]
    if len(here) != len(there) or (all(sizes[1]) and sizes[0] != sizes[1]):
        sized = " of its size at this batch size" if len(here) == len(there) else ""
        raise ValueError(
            f"it is {times.tool}, with {len(there)} convolutions and products where "
            f"{graph.model!r} has {len(here)}{sized}, and its names hold no module paths such as "
            "torch.onnx.export writes; give the model that was timed, and its batch size"
        )
    return (
        _between(here, there, all_cuts(graph, "block" if graph.blocks else "op")) | last,
        "matched by the order of convolutions and products (what lies between two: in the head)",
    )


def _by_operation(times: LayerTimes, graph: ModelGraph) -> dict[int, int]:
    """By the operations that occur equally often in both, in the same order."""
    ops, kinds = [layer.op for layer in graph.layers], [layer.kind for layer in times.layers]
    both = Counter(ops), Counter(kinds)
    same = {op for op in both[0] if both[0][op] == both[1][op]}
    here, there = ([(k, op) for k, op in enumerate(some) if op in same] for some in (ops, kinds))
    alike = [op for _, op in here] == [op for _, op in there]
    if not alike or not all(layer.op in same for layer in graph.layers if layer.flops):
        raise ValueError(
            f"it is {TRACE} whose operations are not those of {graph.model!r}; give the model that "
            "was traced, in inference, with inputs of that size"
        )
    return _between(here, there, all_cuts(graph))


def _between(
    here: Sequence[tuple[int, Any]], there: Sequence[tuple[int, Any]], cuts: Sequence[Cut]
) -> dict[int, int]:
    """The head of a cut ends before the tool's layer that holds the first operation of its tail."""
    starts = [k for k, _ in here]
    found = {}
    for cut in cuts:
        done = int(np.searchsorted(starts, cut.index))
        if 0 < done < len(there) and there[done][0] > there[done - 1][0]:
            found[cut.index] = there[done][0]
    return found


def _products(layer: Timed) -> int:
    """How many operations of that sort a layer holds; several if it is fused."""
    if layer.kind:
        return int(bool(PRODUCT.match(layer.kind) or PRODUCT.search(f"_{layer.kind}")))
    if re.search(r"(?i)reformat", layer.name):  # a copy, named after the layer that needs it
        return 0
    pieces = [piece.strip() for piece in re.split(PIECES, layer.name)]
    own = [piece for piece in pieces if not piece.endswith(("weight", "bias"))]
    return sum(bool(PRODUCT.match(re.split("[/.]", piece)[-1])) for piece in own)


def _by_name(times: LayerTimes, graph: ModelGraph) -> dict[int, int]:
    """Where each block ends, by the module paths in the layers' names; empty without any."""
    patterns = [re.compile(rf"(?<![\w.]){re.escape(block.name)}(?!\w)") for block in graph.blocks]
    seen = [
        {b for b, pattern in enumerate(patterns) for path in paths if pattern.search(path)}
        for paths in (list(_paths(layer.name)) for layer in times.layers)
    ]
    found = {}
    for b, block in enumerate(graph.blocks):
        inside = [i for i, blocks in enumerate(seen) if any(other <= b for other in blocks)]
        after = [i for i, blocks in enumerate(seen) if any(other > b for other in blocks)]
        own = any(b in blocks for blocks in seen)
        # Layers of no block between two are their joint, such as a reformatting: of the tail.
        if own and (not after or inside[-1] < after[0]) and block.end < len(graph.layers):
            found[block.end] = inside[-1] + 1
    return found


def _paths(name: str) -> Iterator[str]:
    """Module paths in a name: ``/blocks/blocks.0/blocks.0.1/conv/Conv`` is blocks.0.1.conv.Conv."""
    for piece in re.split(rf"{PIECES}|[;:\[\]()]", name):
        parts: list[str] = []
        for part in filter(None, piece.strip().split("/")):
            if parts and part.startswith(f"{parts[-1]}."):
                parts[-1] = part
            else:
                parts.append(part)
        yield ".".join(parts)
