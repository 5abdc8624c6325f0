import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from torch import nn

import dscwb
from dscwb.capturing.errors import CaptureError
from dscwb.cli.lab import LabError
from dscwb.cli.options import whole_numbers
from dscwb.figures.save import FigureError
from dscwb.policy import PolicyError
from dscwb.profiles.records import Passes, ProfileError
from tests.command import refused
from tests.tiny import profile_of, tiny_graph

SMALL = "test_efficientnet"  # of timm's smallest and quickest


# Help


def test_help_comes_without_torch():
    program = (
        "import sys; from dscwb.__main__ import main; status = main(['profile', '--help'])\n"
        "print('torch' in sys.modules, 'pandas' in sys.modules, status)"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.stdout.splitlines()[-1] == "False False 0"
    assert "--batch-sizes" in finished.stdout


@pytest.mark.parametrize("command", ["bottlenecks", "verify", "profile"])
def test_every_command_shows_examples(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert sum(f"dscwb {command} " in line for line in out) >= 3  # usage and two examples


def test_without_a_command_help_is_shown(run):
    assert run() == run("--help")


def test_version(run):
    assert run("--version") == (0, [f"dscwb {dscwb.__version__}"], "")


# Bottlenecks


@pytest.fixture(scope="module")
def resnet18():
    return dscwb.capture("resnet18", 64, check=False)


@pytest.fixture
def captured(resnet18, monkeypatch):
    """What the command asked to be captured; ResNet-18 for 64 by 64 pixels is what it gets."""
    asked = []
    monkeypatch.setattr(dscwb, "capture", lambda *given, **_: asked.append(given) or resnet18)
    return asked


def test_bottlenecks_as_json(run, captured):
    status, out, _ = run("bottlenecks", "resnet18", "--image-size", 64, "--json")
    assert (status, captured) == (0, [("resnet18", 64)])
    found = json.loads("\n".join(out))
    # The first stage leaves 64 channels at a quarter of the side: 64/(3·16) = 4/3. Each further one
    # halves both sides and doubles the channels, so it halves c.
    assert found == {
        "model": "resnet18",
        "input_shape": [3, 64, 64],
        "blocks": 8,
        "natural": 6,
        "compressive": [
            {"block": 2, "name": "layer2.0", "ratio": pytest.approx(2 / 3)},
            {"block": 4, "name": "layer3.0", "ratio": pytest.approx(1 / 3)},
            {"block": 6, "name": "layer4.0", "ratio": pytest.approx(1 / 6)},
        ],
    }


def test_bottlenecks_as_a_table(run, captured):
    status, out, _ = run("bottlenecks", "resnet18", "--image-size", 64)
    assert status == 0
    assert out[0].split() == ["block", "name", "ratio", "kind"]
    assert out[2].split() == ["1", "layer1.1", "1.333333"]
    assert out[3].split() == ["2", "layer2.0", "0.666667", "compressive"]
    assert out[4].split() == ["3", "layer2.1", "0.666667", "natural"]
    assert out[-1] == "resnet18: 8 blocks, 6 natural and 3 compressive bottlenecks"


def test_bottlenecks_of_operations(run, captured):
    _, out, _ = run("bottlenecks", "resnet18", "--granularity", "op", "--json")
    found = json.loads("\n".join(out))
    assert found["ops"] > 50
    ratios = [entry["ratio"] for entry in found["compressive"]]
    assert ratios == sorted(set(ratios), reverse=True)
    assert found["natural"] > len(ratios) > 3


# Verify


def test_verify_counts_equal_cuts(run):
    status, out, error = run("verify", "test_vit", "--image-size", 32, "--cuts", 3)
    # The two ends, the middle, and six blocks.
    assert (status, out, error) == (0, ["9 of 9 cuts equal"], "")


def test_verify_lists_unequal_cuts(run, monkeypatch):
    monkeypatch.setattr(dscwb, "verify", lambda captured, cuts, size: [(cuts[1], 0.25)])
    status, out, _ = run("verify", SMALL, "--image-size", 32, "--cuts", 2)
    assert status == 1
    assert out[0].endswith("differs by 0.25 of the largest value")
    tried = int(out[1].split()[2])
    assert out[1] == f"{tried - 1} of {tried} cuts equal"


@pytest.mark.parametrize("cuts", ["some", "1", "-3", "2.5"])
def test_verify_names_a_wrong_number_of_cuts(run, cuts):
    assert refused(run("verify", SMALL, f"--cuts={cuts}")).startswith(f"--cuts is {cuts!r}")


@pytest.mark.parametrize(("cuts", "tried"), [("all", [0, 1, 2]), ("2", [0, 2])])
def test_verify_takes_all_cuts_or_some(run, monkeypatch, cuts, tried):
    captured = dscwb.capture(nn.Sequential(nn.ReLU(), nn.Tanh()).eval(), (3,))
    asked = []
    monkeypatch.setattr(dscwb, "capture", lambda *args, **options: captured)
    monkeypatch.setattr(dscwb, "verify", lambda captured, cuts, size: asked.extend(cuts) or [])
    _, out, _ = run("verify", SMALL, "--cuts", cuts)
    assert [cut.index for cut in asked] == tried
    assert out == [f"{len(tried)} of {len(tried)} cuts equal"]


# Profile


def test_profile_writes_a_file_and_shows_how_far_to_believe_it(run, tmp_path):
    path = tmp_path / "new" / "small.parquet"
    status, out, error = run(
        *("profile", SMALL, "--image-size", 32, "--threads", 1, "--batch-sizes", "1:2,4"),
        *("--passes", 10, "--budget", 0, "--dtype", "bfloat16", "--channels-last", "-o", path),
    )
    assert status == 0
    found = dscwb.load_profile(path)
    assert found.batch_sizes == (1, 2, 4)
    assert found.graph.inputs[0].shape == (1, 3, 32, 32)
    assert (found.provenance.threads, found.provenance.dtype) == (1, "bfloat16")
    assert found.provenance.note == "channels last"
    assert "bfloat16" in out[0]
    assert out[1].split()[:2] == ["batch", "T"]
    assert [line.split()[0] for line in out[2:5]] == ["1", "2", "4"]
    assert all(int(line.split()[5]) >= 10 for line in out[2:5])
    assert out[-1] == f"saved {path}"
    assert "measuring" in error


def test_profile_says_where_memory_ran_out_and_where_it_was_interrupted(run, tmp_path, monkeypatch):
    found = profile_of(tiny_graph(), {1: [1000, 2000, 3000]}, rounds=5)
    none = found.passes[0].stamped_ns[:0]
    found = replace(
        found,
        passes=(*found.passes, Passes(8, none[:, 0], none, oom=True)),
        provenance=replace(found.provenance, note="interrupted"),
    )
    monkeypatch.setattr(dscwb, "capture", lambda *args, **options: None)
    monkeypatch.setattr(dscwb, "profile", lambda *args, **options: found)
    status, out, error = run("profile", SMALL, "-o", tmp_path / "p.parquet")
    assert (status, error) == (130, "dscwb: interrupted\n")
    assert " ".join(out[2].split()) == "1 6 µs 0 % 10 1.000 (1.000–1.000) not checked ok"
    assert " ".join(out[3].split()) == "8 - - - - - oom"
    assert out[4] == f"saved {tmp_path / 'p.parquet'}"
    assert dscwb.load_profile(tmp_path / "p.parquet").status(8) == "oom"


@pytest.mark.parametrize(
    ("text", "sizes"),
    [("1", [1]), ("1,2,8", [1, 2, 8]), ("1:4", [1, 2, 3, 4]), ("1:2,16", [1, 2, 16])],
)
def test_batch_sizes_are_lists_and_ranges(text, sizes):
    assert whole_numbers(text) == sizes


@pytest.mark.parametrize(
    "text", ["", "a", "1,,2", "0", "4:2", "1:2:3", "1.5", "-1", "1:100000000", "1:9999,1:2"]
)
def test_wrong_batch_sizes_are_named(run, text):
    reason = refused(run("profile", SMALL, f"--batch-sizes={text}", "-o", "never"))
    assert reason.startswith(f"--batch-sizes is {text!r}")
    assert reason.endswith("whole numbers from 1, 10,000 of them at most.")


# Mistakes


def test_an_unknown_model_is_answered_with_the_nearest_names(run):
    reason = refused(run("bottlenecks", "efficentnet_b0"))
    assert reason.startswith("timm has no model 'efficentnet_b0'; nearest names: efficientnet_b0,")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nonsense"], "COMMAND: invalid choice: 'nonsense' (choose from"),
        (["bottlenecks"], "required: MODEL"),
        (
            ["bottlenecks", SMALL, "--granularity", "stage"],
            "--granularity: invalid choice: 'stage'",
        ),
        (
            ["bottlenecks", SMALL, "--image-size", "big"],
            "--image-size is 'big'; give a whole number from 1 up",
        ),
        (["verify", SMALL, "--batchsize", "2"], "unrecognized arguments: --batchsize 2"),
        (["profile", SMALL], "required: -o/--output"),
        (["import", "x", "--batch-size", "0"], "--batch-size is '0'; give a whole number"),
        (
            ["profile", SMALL, "-o", "."],
            "--output is '.', but a profile is a Parquet file",
        ),
        (["profile", SMALL, "-o", "x.parquet", "--device", "tpu"], "--device is 'tpu'"),
        (["profile", SMALL, "-o", "x.parquet", "--device", "cuda:99"], "--device is 'cuda:99'"),
        (
            ["profile", SMALL, "-o", "x.parquet", "--dtype", "int8"],
            "--dtype: invalid choice: 'int8'",
        ),
    ],
)
def test_a_mistake_is_one_line(run, arguments, reason):
    assert reason in refused(run(*arguments))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--passes", "3"], "--passes is 3; give at least"),
        (["--gap-ms", "-1"], "--gap-ms is '-1'; give a number from 0"),
        (["--budget", "-1"], "--budget is '-1'; give a number from 0"),
    ],
)
def test_how_to_measure_is_refused_by_the_options_name(run, captured, tmp_path, words, reason):
    assert reason in refused(run("profile", SMALL, *words, "-o", tmp_path / "x.parquet"))


@pytest.fixture
def failing(run, monkeypatch):
    """The outcome of a command in which something fails."""

    def failing(error):
        def fail(*args, **options):
            raise error

        monkeypatch.setattr(dscwb, "capture", fail)
        return run("bottlenecks", SMALL)

    return failing


@pytest.mark.parametrize(
    "error", [CaptureError, ProfileError, PolicyError, FigureError, LabError, ValueError, OSError]
)
def test_a_reason_of_many_lines_becomes_one(failing, error):
    assert refused(failing(error("first line\n\n    second line"))) == "first line second line"


def test_what_the_machine_lacks_is_one_line_with_a_remedy(failing):
    assert "not enough memory for this; give fewer" in refused(failing(MemoryError()))
    for name, extra in (("plotly", "lab"), ("torch", "torch"), ("timm", "torch")):
        missing = ModuleNotFoundError(f"No module named {name!r}", name=name)
        remedy = f"{name} is not installed here; run: pip install 'dscwb[{extra}]'"
        assert remedy in refused(failing(missing))
    gone = FileNotFoundError(2, "No such file or directory", "x.pt2")
    assert refused(failing(gone)) == "x.pt2: No such file or directory"


def test_ctrl_c_is_one_line(failing):
    assert failing(KeyboardInterrupt()) == (130, [], "dscwb: interrupted\n")


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), RuntimeError("?"), KeyError("x")])
def test_a_bug_keeps_its_traceback_and_says_where_to_report_it(failing, error):
    status, out, said = failing(error)
    assert (status, out) == (70, [])
    assert "Traceback" in said
    assert type(error).__name__ in said
    assert "report it" in said.splitlines()[-1]


def test_control_characters_of_a_name_are_shown_not_obeyed(failing):
    reason = refused(failing(ValueError("a name \x1b[2J of \u202e elsewhere")))
    assert reason == r"a name \x1b[2J of \u202e elsewhere"


def test_a_mistake_from_the_shell():
    command = [sys.executable, "-m", "dscwb", "sweep", "nothing", "--speedup", "2"]
    encodings = ("--input-encoding", "uint8", "--feature-encoding", "int8")
    finished = subprocess.run([*command, *encodings], capture_output=True, text=True)
    assert finished.returncode == 2
    assert finished.stderr.startswith("dscwb: nothing: no such file, and no model that comes with")
    assert finished.stderr.count("\n") == 1


# Import


def test_import_makes_a_profile_of_a_table(run, tmp_path):
    table, path = tmp_path / "board.csv", tmp_path / "board.parquet"
    table.write_text(
        "split,batch_size,head_s,tail_s,payload_bytes\n"
        "input,1,0,0.006,400\na,1,0.01,0.005,200\noutput,1,0.06,0,0\n"
    )
    status, out, _ = run("import", table, "--device", "a board", "-o", path)
    assert status == 0
    assert out == [
        "board, batch sizes 1, on a board, float32 "
        "(imported: head + tail = 0.25 to 0.25 × the whole on the device)",
        f"saved {path}",
    ]
    assert dscwb.load_profile(path).head_s(1).tolist() == pytest.approx([0, 0.01, 0.06])
    table.write_text(table.read_text().replace("0.01", "soon"))
    assert "line 3: head_s is 'soon'" in refused(
        run("import", table, "--device", "a board", "-o", path)
    )


# A killed process


def test_a_killed_measurement_goes_on_where_it_was(run, tmp_path, caplog):
    path = tmp_path / "p.parquet"
    command = ["profile", "test_resnet", "--image-size", "32", "--threads", "1", "-o", str(path)]
    endless = [sys.executable, "-m", "dscwb", *command, "--passes", "1000000"]
    nowhere = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    with subprocess.Popen(endless, **nowhere) as process:
        while not path.with_name("p.parquet.unfinished").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    assert not path.exists()
    with caplog.at_level("INFO", "dscwb"):
        status, _, error = run(*command, "--passes", 20, "--budget", 0)
    assert status == 0, error
    assert "of an earlier measurement" in caplog.text
    assert dscwb.load_profile(path).passes[0].rounds >= 10
    assert [p.name for p in tmp_path.iterdir()] == ["p.parquet"]
