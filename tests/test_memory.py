"""What crosses a cut where memory is written to, buffers change and lengths depend on values."""

import copy
import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from dscwb.capturing.captured import capture, verify
from dscwb.capturing.checking import noting_changes
from dscwb.capturing.errors import CaptureError
from dscwb.capturing.exported import read_program
from dscwb.cuts import all_cuts
from tests import memory_models
from tests.memory_models import BATCH_SIZE, CALLS, SHARED, Counter, Pillars, RandomWrites


def equal(a, b):
    pairs = zip(pytree.tree_leaves(a), pytree.tree_leaves(b), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def wrong_cuts(model):
    """Cuts at which two calls in a row on copies of the weights differ from the model's own."""
    captured = capture(copy.deepcopy(model), (4, 4), check=False)
    wanted = []
    with torch.inference_mode():
        for call in range(CALLS):
            wanted.append(copy.deepcopy(model)(memory_models.inputs(call)))
        wrong = []
        for cut in all_cuts(captured.graph):
            head, tail = map(copy.deepcopy, captured.split(cut))
            for call, want in enumerate(wanted):
                x = memory_models.inputs(call)
                sent = head(x)
                told = [(s.name, s.shape[1:]) for s in cut.frontier]
                held = [tuple(t.shape[1:]) for t in sent]
                again = copy.deepcopy(sent)
                fine = equal(tail(sent), want) and equal(sent, again)
                fine = fine and torch.equal(x, memory_models.inputs(call))
                fine = fine and sum(t.numel() for t in sent) == cut.elements(BATCH_SIZE)
                if not fine:
                    wrong.append((cut.name, told, held))
    return wrong


@pytest.mark.parametrize("seed", range(100, 120))
def test_random_programs_that_write_through_views(seed):
    torch.manual_seed(seed)
    assert wrong_cuts(RandomWrites(seed).eval()) == []


@pytest.mark.parametrize("kind", memory_models.NAMED)
def test_programs_that_people_write(kind):
    assert wrong_cuts(kind().eval()) == []


def test_two_machines_that_share_nothing(tmp_path: Path):
    """Heads run here, tails in another process with weights from a file; two calls in a row."""
    made = {name: make().eval() for name, make in SHARED.items()}
    torch.save({name: model.state_dict() for name, model in made.items()}, tmp_path / "weights.pt")
    memory_models.run_halves("head", tmp_path)
    command = [sys.executable, "-m", "tests.memory_models", str(tmp_path)]
    subprocess.run(command, check=True, cwd=Path(__file__).parent.parent)
    results = torch.load(tmp_path / "tail.pt")
    assert {key.split(",")[0] for key in results} == set(SHARED)
    assert len(results) > 12
    for key, got in results.items():
        model = made[key.split(",")[0]]
        with torch.inference_mode():
            want = [model(memory_models.inputs(call)) for call in range(CALLS)]
        assert equal(got, want), key


def test_a_canvas_crosses_once_it_is_written_to():
    captured = capture(Pillars().eval(), (4, 4))
    sizes = {cut.name: cut.elements() for cut in all_cuts(captured.graph)}
    assert sizes["zeros"] == 16  # of the points: zeros can be made anywhere
    assert sizes["linear"] == sizes["slice_1"] == 32
    assert sizes["copy_"] == sizes["view"] == 8 * 64
    written = [layer for layer in captured.graph.layers if layer.writes]
    assert [(layer.op, layer.writes) for layer in written] == [("copy_", "zeros")]
    assert written[0].written_bytes == 4 * 32


def test_an_ordinary_relu_in_place_stays_as_it_is():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)).eval()
    graph = capture(model, (4,)).graph
    assert [layer.op for layer in graph.layers] == ["linear", "relu_", "linear"]
    assert all(layer.writes is None and layer.view_of is None for layer in graph.layers)


def test_a_model_never_changes_the_inputs_that_it_is_given():
    captured = capture(memory_models.Normalised().eval(), (4, 4))
    x = memory_models.inputs(0)
    with torch.inference_mode():
        first, second = captured.module(x), captured.module(x)
    assert torch.equal(first, second)
    assert torch.equal(x, memory_models.inputs(0))
    assert verify(captured, all_cuts(captured.graph)) == []


def test_views_of_a_program_read_from_a_file_share_memory():
    for model in (Pillars(), memory_models.SkipAfterReLU(), nn.Flatten(), RandomWrites(104)):
        model.eval()
        x = torch.randn(2, 4, 4)
        batch = torch.export.Dim("batch", min=1, max=65_535)
        program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
        file = io.BytesIO()
        torch.export.save(program, file)
        file.seek(0)
        loaded = torch.export.load(file)
        assert read_program(model, "m", loaded)[1] == read_program(model, "m", program)[1]


# State


class Background(nn.Module):
    def __init__(self, write):
        super().__init__()
        self.inner = nn.Module()
        self.inner.register_buffer("mean", torch.zeros(4))
        self.mix = nn.Linear(4, 4)
        self.write = write

    def forward(self, x):
        h = self.mix(x)
        self.write(self.inner, h)
        return h - self.inner.mean


def assigned(inner, h):
    inner.mean = inner.mean * 0.9 + h.mean((0, 1)) * 0.1


@pytest.mark.parametrize(
    "write",
    [
        assigned,
        lambda inner, h: inner.mean.add_(1),
        lambda inner, h: inner.mean.view(2, 2)[0].mul_(2),
        lambda inner, h: inner.mean.copy_(h[0, 0]),
        lambda inner, h: inner.mean.lerp_(h.mean((0, 1)), 0.1),
    ],
)
def test_state_is_refused_by_its_name(write):
    with pytest.raises(
        CaptureError, match=r"keeps state between calls: .* changes 'inner\.mean' that"
    ):
        capture(Background(write).eval(), (4, 4), check=False)


class Attribute(nn.Module):
    """State in a plain attribute of an inner module, from the first call on or before it."""

    def __init__(self, first):
        super().__init__()
        self.inner = nn.Module()
        self.inner.last = first

    def forward(self, x):
        last, self.inner.last = self.inner.last, x.mean(0)
        return x if last is None else x - last


class Listed(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.mean())
        return x * sum(self.seen)


class First(nn.Module):
    """Keeps the mean of its first call; rolled samples have the same."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.mean())
        return x * self.seen[0]


class Cache(nn.Module):
    """Keys of the calls before, as a decoder keeps them; the mask is of one call's length."""

    keys = None

    def forward(self, x):
        self.keys = x if self.keys is None else torch.cat([self.keys, x], dim=1)
        return self.keys + torch.zeros(4)


class Steps(nn.Module):
    steps = 0

    def forward(self, x):
        self.steps += 1
        return x * self.steps


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (Attribute(torch.zeros(4)), "'inner.last'"),
        (Attribute(None), "'inner.last'"),
        (Listed(), "'seen'"),
        (First(), "'seen'"),
        (Cache(), "'keys'"),
        (Steps(), "'steps'"),
    ],
)
def test_state_outside_of_buffers_is_refused_too(model, name):
    with pytest.raises(
        CaptureError, match=rf"keeps state between calls: its forward changes {name}"
    ):
        capture(model.eval(), (4,))


def test_a_table_made_in_the_first_call_is_no_state():
    class Positions(nn.Module):
        table = None

        def forward(self, x):
            if self.table is None or self.table.shape != x.shape[1:]:
                self.table = torch.arange(x.shape[1], dtype=x.dtype)
            self.last = x.mean()
            return x + self.table

    captured = capture(Positions().eval(), (4,))
    assert verify(captured, all_cuts(captured.graph)) == []


def test_what_the_refusal_advises_works():
    class Passed(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Linear(4, 4)

        def forward(self, x, mean):
            h = self.mix(x)
            mean = mean * 0.9 + h.mean(1) * 0.1
            return h - mean[:, None], mean

    captured = capture(Passed().eval(), example_inputs=(torch.randn(2, 4, 4), torch.zeros(2, 4)))
    assert verify(captured, all_cuts(captured.graph)) == []


def test_what_a_run_leaves_in_attributes_is_noted_and_put_back():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.seen, self.last, self.calls = nn.Linear(4, 4), [], None, 0

        def forward(self, x):
            self.seen.append(x * 2)
            self.last, self.calls, self.new = x.relu(), self.calls + 1, x
            return self.inner(x) * self.calls

    model = Keeps()
    with noting_changes(model) as changed:
        model(torch.randn(2, 4))
    assert (model.seen, model.last, model.calls) == ([], None, 0)
    assert not hasattr(model, "new")
    assert sorted(changed) == ["calls", "last", "new", "seen"]


def test_a_count_that_no_result_reads_is_left_out():
    model = Counter().eval()
    captured = capture(model, (4, 4))
    assert [layer.op for layer in captured.graph.layers] == ["linear", "select", "relu"]
    model.calls.zero_()
    captured.module(*captured.inputs(1))
    assert model.calls == 0


def test_an_operation_that_writes_and_returns_nothing_is_refused():
    class Many(nn.Module):
        def forward(self, x):
            y = [x.sin(), x.cos()]
            torch._foreach_mul_(y, 2.0)
            return y[0] + y[1]

    with pytest.raises(CaptureError, match=r"_foreach_mul_.* at `torch\._foreach_mul_\(y, 2\.0\)`"):
        capture(Many().eval(), (4,))


# Lengths that depend on values


class Boolean(nn.Module):
    def forward(self, x):
        return x[x > 0].exp()


class Nonzero(nn.Module):
    def forward(self, x):
        return x.nonzero() * 2


class Selected(nn.Module):
    def forward(self, x):
        return torch.masked_select(x, x > 0)


class Unique(nn.Module):
    def forward(self, x):
        return torch.unique(x)


class Experts(nn.Module):
    def forward(self, x):
        out = torch.zeros_like(x)
        for k in range(2):
            row = torch.where(x[:, 0].round() == k)[0]
            out = out.index_add(0, row, x[row])
        return out


class Long(nn.Module):
    def forward(self, x):
        return x.new_zeros(x[0, 0].abs().int().item(), 3)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (Boolean, "return x[x > 0].exp()"),
        (Nonzero, "return x.nonzero() * 2"),
        (Selected, "return torch.masked_select(x, x > 0)"),
        (Unique, "return torch.unique(x)"),
        (Experts, "row = torch.where(x[:, 0].round() == k)[0]"),
        (Long, "return x.new_zeros(x[0, 0].abs().int().item(), 3)"),
    ],
)
def test_lengths_that_depend_on_values_are_refused_at_their_line(kind, line):
    with pytest.raises(CaptureError) as refused:
        capture(kind().eval(), (4,))
    assert f"depends on values, not on shapes alone at `{line}` ({__file__}:" in str(refused.value)


def test_what_the_refusal_of_a_length_advises_works():
    class Masked(nn.Module):
        def forward(self, x):
            kept = torch.where(x > 0, x, 0)
            return (kept.exp() * (x > 0)).sin()

    captured = capture(Masked().eval(), (4,))
    assert verify(captured, all_cuts(captured.graph)) == []
