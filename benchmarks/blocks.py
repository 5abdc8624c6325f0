"""What offering splits after blocks only costs, against all cuts: ``python -m benchmarks.blocks``.

For every timm module's smallest model, torchvision's classification and segmentation models and
detection backbones, and the networks of `benchmarks.networks`: the best split among the default
candidates against the best of all cuts, at data rates from 1 Mbit/s to 1 Gbit/s, with modelled
times (a roofline, no measurement). Features are int8, images uint8. Prints the models that lose
more than 5 % somewhere, and why. Each model's row lies in the folder as soon as it is there, so an
interrupted run goes on; other rules need another folder.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.families import CSV
from dscwb.writing import atomically

if TYPE_CHECKING:
    from torch import nn

    import dscwb

Made = tuple["nn.Module", Any]  # and its inputs: one sample's shape, or tensors

RATES_BPS = np.geomspace(1e6, 1e9, 61)
PAIRS = (("Raspberry Pi 5", "H100 SXM"), ("Jetson Nano", "H100 SXM"))
LIMIT = 0.05  # of the best latency: what block candidates may cost
IMAGE = (3, 224, 224)

CLASSIFIERS = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s",
    "googlenet", "inception_v3", "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_large",
    "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnet50",
    "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_0", "squeezenet1_1", "swin_t",
    "swin_v2_t", "vgg11", "vgg11_bn", "vit_b_16", "wide_resnet50_2",
)  # fmt: skip
SEGMENTERS = (
    "deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "fcn_resnet50",
    "lraspp_mobilenet_v3_large",
)  # fmt: skip
DETECTORS = (
    "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2",
    "fcos_resnet50_fpn", "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2", "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """The worst that block candidates did to one model.

    Attributes:
        model: Where it is from, and its name.
        blocks: Number of blocks.
        narrow: Number of narrow places offered beside them.
        kinds: Classes of the blocks.
        excess: Largest latency of the best candidate over that of the best cut, minus 1.
        rate_mbps: Data rate there, Mbit/s.
        pair: Device and server there.
        reason: The two splits there.
        failed: Why there is no result; empty otherwise.
    """

    model: str
    blocks: int = 0
    narrow: int = 0
    kinds: str = ""
    excess: float = 0.0
    rate_mbps: float = 0.0
    pair: str = ""
    reason: str = ""
    failed: str = ""


def models() -> Iterator[tuple[str, Callable[[], Made]]]:
    """Every model's name, and how to make it and its input."""
    yield from ((f"own {name}", partial(_own, name)) for name in _networks())
    yield from ((f"torchvision {name}", partial(_vision, "", name)) for name in CLASSIFIERS)
    yield from ((f"torchvision {x}", partial(_vision, "segmentation", x)) for x in SEGMENTERS)
    yield from ((f"torchvision {x} backbone", partial(_vision, "detection", x)) for x in DETECTORS)
    with CSV.open(newline="", encoding="utf-8") as file:  # each timm module's smallest
        rows = list(csv.DictReader(file))
    for row in rows:
        shape = tuple(map(int, row["image"].split("x")))
        yield f"timm {row['family']}: {row['model']}", partial(_timm, row["model"], shape)


def _networks() -> Sequence[str]:
    from benchmarks.networks import NETWORKS

    return list(NETWORKS)


def _own(name: str) -> Made:
    from benchmarks.networks import NETWORKS

    make, inputs = NETWORKS[name]
    return make(), inputs()


def _vision(kind: str, name: str) -> Made:
    import torchvision

    where = getattr(torchvision.models, kind) if kind else torchvision.models
    more: dict[str, Any] = {"weights_backbone": None} if kind else {}
    if name in {"googlenet", "inception_v3"}:
        more["init_weights"] = False  # takes a minute
    model = getattr(where, name)(weights=None, **more)
    shape = (3, 299, 299) if name == "inception_v3" else (3, 320, 320) if kind else IMAGE
    return (model.backbone if kind == "detection" else model), shape


def _timm(name: str, shape: tuple[int, ...]) -> Made:
    import timm

    return timm.create_model(name), shape


def measured(name: str, make: Callable[[], Made]) -> Row:
    """The row of one model; where it cannot be captured, the reason."""
    try:
        return excess(name, _graph(make))
    except Exception as error:  # whatever it is, it is this model's result
        return Row(name, failed=f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _graph(make: Callable[[], Made]) -> dscwb.ModelGraph:
    """Captured without memory for weights and features, or with, where a model needs numbers."""
    import torch

    import dscwb

    def captured(device: str) -> dscwb.ModelGraph:
        with torch.device(device):
            module, inputs = make()
        if isinstance(inputs[0], torch.Tensor):
            return dscwb.capture(module.eval(), example_inputs=inputs, check=False).graph
        return dscwb.capture(module.eval(), inputs, check=False).graph

    try:
        return captured("meta")
    except (dscwb.CaptureError, NotImplementedError):
        return captured("cpu")


def excess(name: str, graph: dscwb.ModelGraph) -> Row:
    """The worst state of all rates and pairs."""
    import dscwb

    cuts = dscwb.all_cuts(graph, "op")
    candidates = dscwb.all_cuts(graph, "block")
    offered = [cut.index for cut in candidates]
    int8, uint8 = dscwb.Encoding("int8", 1), dscwb.Encoding("uint8", 1)
    image = len(graph.inputs) == 1 and len(graph.inputs[0].shape) == 4
    given = uint8 if image else None
    bits = 8 * np.array([cut.payload_bytes(int8, 1, input_encoding=given) for cut in cuts])
    kinds = ", ".join(sorted({block.kind for block in graph.blocks}))
    row = Row(name, len(graph.blocks), len(graph.narrow), kinds)
    for edge, server in PAIRS:
        head = dscwb.model_profile(graph, edge, [1]).head_s(1)
        tail = dscwb.model_profile(graph, server, [1]).tail_s(1)
        total = head + tail + bits / RATES_BPS[:, None]
        over = total[:, offered].min(1) / total.min(1) - 1
        at = int(over.argmax())
        if over[at] > row.excess:
            best = cuts[int(total[at].argmin())]
            taken = candidates[int(total[at, offered].argmin())]
            row = Row(
                name, row.blocks, row.narrow, kinds, float(over[at]), RATES_BPS[at] / 1e6,
                f"{edge} and {server}", reason(graph, best, taken),
            )  # fmt: skip
    return row


def reason(graph: dscwb.ModelGraph, best: dscwb.Cut, taken: dscwb.Cut) -> str:
    """Where the best cut lies, and what is taken instead."""
    layer = graph.layers[best.index - 1]
    around = [b.name for b in graph.blocks if f"{layer.module}.".startswith(f"{b.name}.")]
    where = f"inside block {around[0]}, " if around else "outside the blocks, "
    ratios = [cut.elements() / graph.input_elements for cut in (best, taken)]
    return (
        f"best {where}after {layer.module or layer.name} ({layer.op}, c = {ratios[0]:.3f}, "
        f"{len(best.frontier)} sent); taken {taken.name} (c = {ratios[1]:.3f})"
    )


def table(rows: Sequence[Row]) -> str:
    """The sum, the exceptions with their reasons, the worst first, and what failed."""
    done = [row for row in rows if not row.failed]
    bad = sorted((row for row in done if row.excess > LIMIT), key=lambda row: -row.excess)
    lines = [
        f"{len(done)} models; at {len(done) - len(bad)} the best candidate costs at most "
        f"{LIMIT:.0%} more than the best of all cuts, at every rate from 1 Mbit/s to 1 Gbit/s.",
        *(
            f"  {row.model}: +{row.excess:.1%} at {row.rate_mbps:.3g} Mbit/s, {row.pair}: "
            f"{row.reason}"
            for row in bad
        ),
        *(f"  {row.model}: no result, {row.failed}" for row in rows if row.failed),
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Capture and compute every model without a row in the folder, then print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blocks", description=__doc__)
    parser.add_argument("folder", type=Path, help="where rows are kept")
    parser.add_argument("--only", help="models whose name holds this text")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, make in models():
        if options.only and options.only not in name:
            continue
        path = options.folder / f"{name.replace(':', '').replace(' ', '-')}.json"
        if path.exists():
            row = Row(**json.loads(path.read_text()))
        else:
            row = measured(name, make)
            with atomically(path) as file:
                file.write_text(json.dumps(asdict(row)))
            sys.stderr.write(f"{name}: {row.failed or f'{row.blocks} blocks, +{row.excess:.1%}'}\n")
        rows.append(row)
    sys.stdout.write(f"{table(rows)}\n")


if __name__ == "__main__":
    main()
