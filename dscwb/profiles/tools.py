"""Layer times of other tools: the text of a file goes in, one pass's layers in order come out.

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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dscwb.cuts import Cut, all_cuts
from dscwb.graph import ModelGraph

TRACE = "a torch.profiler trace"
US, MS = 1e-6, 1e-3  # seconds
NPY_HEADER = 128  # bytes that Scission counts with each tensor, which it saves by numpy.save
PRODUCT = re.compile(
    r"(?i)(?:^|[\W_])(?:conv|gemm|matmul|fully_connected|batch_matmul|fc|dense|linear)"
)
"""An operation that does the arithmetic of its layer, by the names that the tools give it."""
PRODUCTS = ("conv", "linear", "addmm", "matmul", "mm", "bmm", "baddbmm")


@dataclass(frozen=True, eq=False)
class LayerTimes:
    """What a tool measured.

    Attributes:
        tool: What to call the file in a sentence.
        names: One a layer, in the order in which they run, ``(layer,)``.
        seconds: ``(run, layer)``.
        kinds: Each layer's operation; empty where only its name tells it.
        elements: Elements that each layer makes, for the whole batch; 0 where that is not known.
        payload_bytes: What crosses a cut after each layer; None where the tool does not know it.
        note: What a reader of the numbers should know.
    """

    tool: str
    names: tuple[str, ...]
    seconds: NDArray[np.float64]
    kinds: tuple[str, ...]
    elements: tuple[int, ...]
    payload_bytes: tuple[float, ...] | None = None
    note: str = ""


def layer_times(text: str, model: str | None = None) -> LayerTimes | None:
    """The layers of a file, or None if no tool known here wrote it.

    Args:
        text: All of the file.
        model: Which one, in a file of several models.

    Raises:
        ValueError: A tool's file that cannot be used, with the remedy.
    """
    if text.lstrip()[:1] in ("[", "{"):
        return _json(text)
    if re.search(r"(?im)^[\s\[]*node type\]?\s*[,\t]", text):
        return _tflite(text)
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
        sizes = [float(size) * 2**20 for size in rows["output"]]
        times = [float(time) * MS for time in rows["times"]]
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"its Scission table of {model} is damaged ({error}); copy it anew"
        ) from None
    names = rows["layers"]
    if not len(names) == len(sizes) == len(times):
        raise ValueError(
            f"its Scission table of {model} has rows of different length; copy it anew"
        )
    return _table(
        "a Scission table",
        [(f"layer {name}", "", time, 0) for name, time in zip(names, times, strict=True)],
        payload_bytes=tuple(size - NPY_HEADER for size in sizes),
        note="sums of layers that ran alone, each with its own call",
    )


def _table(tool: str, rows: Sequence[tuple[str, str, float, int]], **more: Any) -> LayerTimes:
    """Layers of one run: name, kind, seconds, elements."""
    names, kinds, seconds, elements = zip(*rows, strict=True) if rows else ((), (), (), ())
    return LayerTimes(tool, names, np.array([seconds], dtype=np.float64), kinds, elements, **more)


def _tflite(text: str) -> LayerTimes:
    """The last table in run order; before it may stand that of the initialisation.

    As CSV the tables have no titles, and after each comes one of its slowest layers, to be left.
    """
    tables: list[list[tuple[str, str, float, int]]] = []
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
            elif ordered:
                tables.append([])
        elif columns and ordered and len(cells) == len(columns):
            row = dict(zip(columns, cells, strict=True))
            try:
                seconds = float(row["avg_ms"]) * MS * float(row.get("times_called") or 1)
            except ValueError:
                columns = []  # what follows the table
                continue
            tables[-1].append((row["name"], row["node_type"], seconds, 0))
    kept: list[list[tuple[str, str, float, int]]] = []
    for table in tables:
        if table and not (kept and set(table) <= set(kept[-1])):
            kept.append(table)
    return _table("a layer table of TFLite's benchmark_model", kept[-1] if kept else [])


def _json(text: str) -> LayerTimes | None:
    try:
        found = json.loads(text)
    except ValueError:
        try:  # ONNX Runtime writes its last bracket when the session ends, often never
            found = json.loads(text.rstrip().rstrip(",") + "]")
        except ValueError as error:
            raise ValueError(f"it is damaged JSON ({error}); export it anew") from None
    if isinstance(found, dict) and "traceEvents" in found:
        return _torch_trace([e for e in found["traceEvents"] if isinstance(e, dict)])
    events = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    if any("averageMs" in one for one in events):
        rows = [
            (
                str(one["name"]),
                "",
                float(one["medianMs"] if "medianMs" in one else one["averageMs"]) * MS,
                0,
            )
            for one in events
            if "averageMs" in one
        ]
        return _table("a trtexec layer profile", rows)
    if any(one.get("cat") in ("Node", "Session") for one in events):
        return _onnx_runtime(events)
    raise ValueError(
        "it is JSON of no tool known here; known are trtexec --exportProfile, ONNX Runtime's "
        "profile and torch.profiler's chrome trace"
    )


def _onnx_runtime(events: Sequence[dict[str, Any]]) -> LayerTimes:
    tool = "an ONNX Runtime profile"
    nodes = [
        e for e in events if e.get("cat") == "Node" and str(e["name"]).endswith("_kernel_time")
    ]
    keys = [(str(e["name"]), (e.get("args") or {}).get("node_index", "")) for e in nodes]
    seconds, first = _runs(tool, keys, [float(e["dur"]) * US for e in nodes])
    arguments = [nodes[i].get("args") or {} for i in first]
    shapes: list[list[int]] = [
        next(iter((a.get("output_type_shape") or [{}])[0].values()), []) for a in arguments
    ]
    return LayerTimes(
        tool,
        tuple(keys[i][0].removesuffix("_kernel_time") for i in first),
        seconds,
        tuple(str(a.get("op_name", "")) for a in arguments),
        tuple(math.prod(shape) if shape else 0 for shape in shapes),
    )


def _torch_trace(events: Sequence[dict[str, Any]]) -> LayerTimes:
    tool = TRACE
    if any(e.get("cat") == "kernel" for e in events):
        raise ValueError(
            f"it is {tool} of a GPU, where operations only start the work: their times are not the "
            "layers'; measure there with `dscwb profile MODEL --device cuda`"
        )
    done, top = -math.inf, []
    timed = [e for e in events if e.get("cat") == "cpu_op" and e.get("ph") == "X"]
    for event in sorted(timed, key=lambda e: (e["ts"], -e["dur"])):
        if event["ts"] >= done:  # not within another operation
            top.append(event)
            done = event["ts"] + event["dur"]
    names = tuple(str(e["name"]).removeprefix("aten::") for e in top)
    seconds = np.array([[float(e["dur"]) * US for e in top]])
    return LayerTimes(tool, names, seconds, names, (0,) * len(names))


def _runs(
    tool: str, keys: Sequence[tuple[str, str]], seconds: Sequence[float]
) -> tuple[NDArray[np.float64], range]:
    """Times as ``(run, layer)``, and the first run's events; each layer has a key of its own."""
    length = len(set(keys))
    if any(key != keys[i % length] for i, key in enumerate(keys)):
        raise ValueError(
            f"it is {tool} whose runs differ, or whose nodes have no names; profile one input size"
        )
    whole = len(keys) // max(1, length) * length  # the last run may have been cut off
    times = np.array(seconds[:whole]).reshape(-1, max(1, length))
    return _warm(times), range(length)


def _warm(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without the first run, where there are others: it allocates and chooses kernels."""
    return times[min(1, max(0, len(times) - 1)) :]


def of_one_run(layers: LayerTimes, graph: ModelGraph) -> LayerTimes:
    """A trace of several runs as such: as many as it holds the graph's arithmetic."""
    wanted = sum(bool(layer.flops) for layer in graph.layers)
    heavy = {layer.op for layer in graph.layers if layer.flops}
    runs = sum(kind in heavy for kind in layers.kinds) // max(1, wanted)
    length = len(layers.names) // max(1, runs)
    alike = layers.names == layers.names[:length] * runs
    if layers.tool != TRACE or runs < 2 or not alike:
        return layers
    return replace(
        layers,
        names=layers.names[:length],
        kinds=layers.kinds[:length],
        elements=layers.elements[:length],
        seconds=_warm(layers.seconds.reshape(runs, length)),
    )


def places(layers: LayerTimes, graph: ModelGraph, batch_size: int) -> tuple[dict[int, int], str]:
    """How many of the layers each cut's head holds, by the cut's index, and how that is known.

    Cuts that lie inside a fused layer are left out.

    Raises:
        ValueError: The layers are not those of the graph.
    """
    here: list[tuple[int, object]]
    there: list[tuple[int, object]]
    blocks = all_cuts(graph, "block" if graph.blocks else "op")
    last = {0: 0, len(graph.layers): len(layers.names)}
    if layers.tool == TRACE:
        ops = [layer.op for layer in graph.layers]
        both = Counter(ops), Counter(layers.kinds)
        same = {op for op in both[0] if both[0][op] == both[1][op]}
        here = [(k, op) for k, op in enumerate(ops) if op in same]
        there = [(i, op) for i, op in enumerate(layers.kinds) if op in same]
        alike = [op for _, op in here] == [op for _, op in there]
        if alike and all(layer.op in same for layer in graph.layers if layer.flops):
            return _between(here, there, all_cuts(graph)) | last, "matched by operation"
        raise ValueError(
            f"it is {layers.tool} whose operations are not those of {graph.model!r}; give the "
            "model that was traced, in inference, with inputs of that size"
        )
    if by_name := _by_name(layers, graph):
        return by_name | last, "matched by the modules in their names"
    here = [
        (k, layer.outputs[0].elements(batch_size))
        for k, layer in enumerate(graph.layers)
        if layer.op.startswith(PRODUCTS) and layer.flops
    ]
    there = [
        (i, size)
        for i, (name, kind, size) in enumerate(
            zip(layers.names, layers.kinds, layers.elements, strict=True)
        )
        for _ in range(_products(name, kind))
    ]
    sizes = [[size for _, size in here], [size for _, size in there]]
    if len(here) != len(there) or (all(sizes[1]) and sizes[0] != sizes[1]):
        sized = " of its size at this batch size" if len(here) == len(there) else ""
        raise ValueError(
            f"it is {layers.tool}, with {len(there)} convolutions and products where "
            f"{graph.model!r} has {len(here)}{sized}, and its names hold no module paths such as "
            "torch.onnx.export writes; give the model that was timed, and its batch size"
        )
    return (
        _between(here, there, blocks) | last,
        "matched by the order of convolutions and products (what lies between two: in the head)",
    )


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


def _products(name: str, kind: str) -> int:
    """How many operations of that sort a layer holds; several if it is fused."""
    if kind:
        return int(bool(PRODUCT.match(kind) or PRODUCT.search(f"_{kind}")))
    if re.search(r"(?i)reformat", name):  # a copy, named after the layer that needs it
        return 0
    pieces = [piece.strip() for piece in re.split(r"\s\+\s|\s\|\|\s", name)]
    ends = [
        re.split("[/.]", piece)[-1] for piece in pieces if not piece.endswith(("weight", "bias"))
    ]
    return sum(bool(PRODUCT.match(end)) for end in ends)


def _by_name(layers: LayerTimes, graph: ModelGraph) -> dict[int, int]:
    """Where each block ends, by the module paths in the layers' names; empty without any."""
    patterns = [re.compile(rf"(?<![\w.]){re.escape(block.name)}(?!\w)") for block in graph.blocks]
    seen = [
        {b for b, pattern in enumerate(patterns) for path in paths if pattern.search(path)}
        for paths in (list(_paths(name)) for name in layers.names)
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
    for piece in re.split(r"\s\+\s|\s\|\|\s|[;:\[\]()]", name):
        parts: list[str] = []
        for part in filter(None, piece.strip().split("/")):
            if parts and part.startswith(f"{parts[-1]}."):
                parts[-1] = part
            else:
                parts.append(part)
        yield ".".join(parts)
