"""Layer times of other tools: files of their layouts, written here; heads added up by hand."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.profiler import ProfilerActivity, profile

import dscwb
from dscwb.__main__ import main
from dscwb.cuts import all_cuts
from dscwb.profiles.records import ProfileError

TIMES = st.lists(st.integers(1, 10**6), min_size=40, max_size=40)  # ns


class Block(nn.Module):
    """Two convolutions beside a shortcut, as in a residual network."""

    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x):
        return (x + self.conv2(self.conv1(x).relu())).relu()


class Net(nn.Module):
    def __init__(self, depth=3):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.blocks = nn.Sequential(*(Block(4) for _ in range(depth)))
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def graph():
    return dscwb.capture(Net().eval(), (3, 16, 16)).graph


def nodes(depth=3):
    """Nodes of Net as torch.onnx.export names them, with the block that each belongs to."""
    yield "/stem/Conv", "Conv", -1, (4, 7, 7)
    for b in range(depth):
        start = f"/blocks/blocks.{b}"
        yield f"{start}/conv1/Conv", "Conv", b, (4, 7, 7)
        yield f"{start}/Relu", "Relu", b, (4, 7, 7)
        yield f"{start}/conv2/Conv", "Conv", b, (4, 7, 7)
        yield f"{start}/Add", "Add", b, (4, 7, 7)
        yield f"{start}/Relu_1", "Relu", b, (4, 7, 7)
    yield "/ReduceMean", "ReduceMean", depth, (4,)
    yield "/head/Gemm", "Gemm", depth, (5,)


def imported(path, content, **more):
    path = path / "layers.txt"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return dscwb.profile_from_csv(path, device="a board", **more)


def heads(profile, size=1):
    """Seconds of the heads that have times, by the name of the cut."""
    cuts, head, tail = all_cuts(profile.graph), profile.head_s(size), profile.tail_s(size)
    known = [k for k in range(len(cuts)) if not np.isnan(head[k])]
    np.testing.assert_allclose((head + tail)[known], head[-1], atol=1.1e-9)
    ends = {block.end: block.name for block in profile.graph.blocks}
    return {ends.get(cuts[k].index, cuts[k].name): head[k] for k in known}


def wanted(times_ns):
    """Heads after each block: all nodes of it and before it."""
    all_nodes = list(zip(nodes(), times_ns, strict=False))
    ends = {f"blocks.{b}": sum(t for n, t in all_nodes if n[2] <= b) for b in range(3)}
    ends |= {"input": 0, "output": sum(t for _, t in all_nodes)}
    return {name: ns * 1e-9 for name, ns in ends.items()}


def trtexec(times_ns, name=lambda node: node[0]):
    rows = [
        {"name": name(node), "timeMs": 9.0, "averageMs": ns / 1e6, "percentage": 1.0}
        for node, ns in zip(nodes(), times_ns, strict=False)
    ]
    return [{"count": 100}, *rows]


def onnx_runtime(times_ns, runs=1, batch=1, name=lambda node: node[0]):
    events = [{"cat": "Session", "pid": 1, "dur": 9, "ts": 1, "ph": "X", "name": "model_run"}]
    for _ in range(runs):
        for i, (node, ns) in enumerate(zip(nodes(), times_ns, strict=False)):
            arguments = {
                "op_name": node[1],
                "node_index": str(i),
                "output_type_shape": [{"float": [batch, *node[3]]}],
            }
            events += [
                {"cat": "Node", "name": f"{name(node)}_fence_before", "dur": 1, "ts": 1, "ph": "X"},
                {
                    "cat": "Node",
                    "name": f"{name(node)}_kernel_time",
                    "dur": ns / 1e3,
                    "ts": 1,
                    "ph": "X",
                    "args": arguments,
                },
            ]
    return events


TFLITE = {"Conv": "CONV_2D", "Relu": "RELU", "Gemm": "FULLY_CONNECTED"}


def tflite(times_ns, csv=True):
    rows = [
        (TFLITE.get(node[1], node[1].upper()), ns / 1e6, f"[model/n_{i},x]:{i}")
        for i, (node, ns) in enumerate(zip(nodes(), times_ns, strict=False))
    ]

    def table(title, some):
        if csv:
            head = "node type, first, avg_ms, %, cdf%, mem KB, times called, name"
            lines = [f"{kind}, 1.2, {ms:.9f}, 4%, 4%, 0, 1, {name}" for kind, ms, name in some]
            return [head, *lines, ""]
        head = "\t".join(f"[{n}]" for n in ("node type", "first", "avg ms", "%", "cdf%", "mem KB"))
        lines = [f"\t {kind}\t1.2\t {ms:.9f}\t4%\t4%\t0\t1\t{name}" for kind, ms, name in some]
        return [f"==== {title} ====", head + "\t[times called]\t[Name]", *lines, ""]

    slowest = sorted(rows, key=lambda row: -row[1])[:10]
    start = [("AllocateTensors", 0.5, "AllocateTensors/0")]
    summary = ["[Node type]\t[count]\t[avg ms]", "CONV_2D\t7\t3.4", "Timings (microseconds): 3"]
    return "\n".join(
        [
            *table("Run Order", start),
            *table("Top by Computation Time", start),
            *table("Run Order", rows),
            *table("Top by Computation Time", slowest),
            *([] if csv else ["==== Summary by node type ====", *summary]),
        ]
    )


@given(TIMES)
@settings(max_examples=5)
def test_layer_times_become_heads(tmp_path_factory, graph, times):
    path = tmp_path_factory.mktemp("t")
    for content in (
        trtexec(times),
        onnx_runtime(times),
        onnx_runtime(times, runs=3),
        tflite(times),
        tflite(times, csv=False),
        # Without module paths: by the order of convolutions and products, and their sizes.
        trtexec(times, lambda node: f"{node[1]}_12"),
        onnx_runtime(times, name=lambda node: f"{node[1]}_12_{node[0].count('1')}"),
    ):
        profile = imported(path, content, graph=graph)
        found, want = heads(profile), wanted(times)
        # The mean after the last block lies between two products: without paths, in the head. And
        # without paths narrow places outside the blocks have times too.
        if "order" in profile.provenance.note:
            want["blocks.2"] += times[16] * 1e-9
            want |= {"conv2d": times[0] * 1e-9, "mean": want["blocks.2"]}
        assert found == pytest.approx(want, abs=2e-9)
        assert "imported" in profile.provenance.label()


def test_a_titled_table_of_the_slowest_layers_is_left_whatever_it_holds(tmp_path, graph):
    times = [1000 * k for k in range(1, 19)]
    before, after = tflite(times, csv=False).rsplit("==== Top by", 1)
    text = f"{before}==== Top by{after.replace('1.2', '1.3').replace('0.018', '0.019')}"
    assert heads(imported(tmp_path, text, graph=graph))["output"] == pytest.approx(171e-6)


def test_fused_layers_have_no_cut_inside(tmp_path, graph):
    """The joint of blocks 0 and 1 is one kernel; a copy before block 2 is named after it."""
    names = [
        "/stem/Conv",
        "/blocks/blocks.0/conv1/Conv + /blocks/blocks.0/Relu",
        "/blocks/blocks.0/conv2/Conv + /blocks/blocks.0/Add + /blocks/blocks.1/conv1/Conv",
        "/blocks/blocks.1/conv2/Conv",
        "Reformatting CopyNode for Input Tensor 0 to /blocks/blocks.2/conv1/Conv",
        "/blocks/blocks.2/conv1/Conv",
        "/blocks/blocks.2/conv2/Conv",
        "/head/Gemm",
    ]
    rows = [
        {"name": name, "timeMs": 1, "averageMs": 1.0, "medianMs": 2.0**i}
        for i, name in enumerate(names)
    ]
    found = heads(imported(tmp_path, [{"count": 3}, *rows], graph=graph))
    assert found == pytest.approx(
        {"input": 0, "blocks.1": 0.015, "blocks.2": 0.127, "output": 0.255}
    )


@pytest.mark.parametrize("runs", [1, 4])
def test_a_real_trace_of_torch(tmp_path, runs):
    """Traced here; the heads are those of the trace's own outermost operations."""
    net, x = Net().eval(), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        net(x)
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as traced:
            for _ in range(runs):
                net(x)
    traced.export_chrome_trace(str(tmp_path / "trace.json"))
    graph = dscwb.capture(net, (3, 16, 16)).graph
    found = dscwb.profile_from_csv(
        tmp_path / "trace.json", device="here", graph=graph, batch_size=2
    )
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    ops = {"conv2d", "relu", "add", "mean", "linear"}
    top = [e for e in events if e.get("cat") == "cpu_op" and e["name"].split("::")[-1] in ops]
    times = np.array([e["dur"] * 1e-6 for e in sorted(top, key=lambda e: e["ts"])])
    times = times.reshape(runs, -1)[min(1, runs - 1) :]
    ends = np.median(np.cumsum(times, axis=1), axis=0)
    assert len(ends) == len(graph.layers)
    np.testing.assert_allclose(found.head_s(2)[1:], ends, atol=2e-9)


def scission(names, sizes, times):
    cells = [repr(time) for time in times]
    return "\n".join(
        [
            *("vgg", "layers," + ",".join(names), "flops," + ",".join("0" * len(names))),
            "output," + ",".join(repr((4 * n + 128) / 2**20) for n in sizes),
            "times," + ",".join(cells),
            *("", "block details:", "0,InputLayer", "1-3,Conv2D,Add", ""),
        ]
    )


@given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(0.001, 99)), min_size=3, max_size=9))
@settings(max_examples=5)
def test_scission_knows_its_payloads(tmp_path_factory, layers):
    sizes, times = zip(*layers, strict=True)
    names = [str(i) for i in range(len(layers))]
    text = scission(names, sizes, times)
    profile = imported(tmp_path_factory.mktemp("s"), text)
    found = heads(profile)
    ends = np.cumsum(times) * 1e-3
    assert found["output"] == pytest.approx(ends[-1], abs=1e-8)
    for i in range(1, len(layers) - 1):
        assert found[f"layer {i}"] == pytest.approx(ends[i], abs=1e-8)
    payloads = [
        cut.payload_bytes(dscwb.Encoding("float32", 4.0)) for cut in all_cuts(profile.graph)
    ]
    assert payloads == [4.0 * n for n in sizes[:-1]] + [0.0]
    assert "layers that ran alone" in profile.provenance.note


def test_one_of_several_models_is_asked_for(tmp_path, capsys):
    text = scission("012", [9, 8, 7], [1.0, 2.0, 3.0])
    both = text + "\n" + text.replace("vgg", "xception").replace("times,1.0", "times,2.0")
    with pytest.raises(ProfileError, match=r"Scission table of vgg, xception; name one, --model"):
        imported(tmp_path, both)
    assert heads(imported(tmp_path, both, model="xception"))["output"] == pytest.approx(0.007)
    table = str(tmp_path / "layers.txt")
    given = ["--device", "x", "-o", str(tmp_path / "p.parquet")]
    assert not main(["import", table, "--model", "xception", *given])
    assert "xception, batch sizes 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (trtexec([1] * 18), "it is a trtexec layer profile, without payloads: name the model"),
        (onnx_runtime([1] * 18), "it is an ONNX Runtime profile, without payloads: .*--model NAME"),
        (tflite([1] * 18), "it is a layer table of TFLite's benchmark_model, without payloads"),
        ({"traceEvents": []}, "it is a torch.profiler trace without layers; switch the profiling"),
        ({"traceEvents": [{"cat": "kernel"}]}, "a torch.profiler trace of a GPU, where operations"),
        ([{"a": 1}], "it is JSON of no tool known here; known are trtexec"),
        ("[{", "it is damaged JSON"),
        ([{"averageMs": 1}], r"it is damaged \(KeyError: 'name'\); export it anew"),
        (
            trtexec([float("inf")] * 18),
            "trtexec layer profile with a number beyond 9e",
        ),
        (scission("012", [9, 1e99, 7], [1.0, 2.0, 3.0]), "Scission table with a number beyond 9e"),
        ([{"cat": "Session", "name": "model_run"}], "ONNX Runtime profile without layers"),
    ],
)
def test_what_cannot_be_taken_is_named(tmp_path, content, reason):
    with pytest.raises(ProfileError, match=reason):
        imported(tmp_path, content)


def test_layers_of_another_model_or_batch_are_refused(tmp_path, graph):
    other = dscwb.capture(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), (3, 16, 16)).graph
    for content in (trtexec([1000] * 18, lambda node: f"{node[1]}_1"), tflite([1000] * 18)):
        with pytest.raises(ProfileError, match=r"with 8 convolutions and products where .* has 1,"):
            imported(tmp_path, content, graph=other)
    unnamed = onnx_runtime([1000] * 18, batch=4, name=lambda node: "x")
    with pytest.raises(ProfileError, match="has 8 of its size at this batch size"):
        imported(tmp_path, unnamed, graph=graph)
    assert imported(tmp_path, unnamed, graph=graph, batch_size=4).batch_sizes == (4,)
