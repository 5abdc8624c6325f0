"""The analysis commands in this process: options become a study, mistakes become one line."""

import json
import re

import numpy as np
import pandas as pd
import pytest

import dscwb
from dscwb import __main__ as cli
from dscwb.cli.options import many_rates, one_rate
from dscwb.profiles.library import scale_profile
from dscwb.scenario import DATA_RATES_BPS
from tests.command import refused
from tests.tiny import profile_of, tiny_graph

MS = 1_000_000
WIRE = ("--input-encoding", "float32", "--feature-encoding", "float32")
ASSUMED = ("--speedup", "10")


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    layers_ns = {1: [10 * MS, 20 * MS, 30 * MS], 3: [20 * MS, 40 * MS, 60 * MS]}
    path = tmp_path_factory.mktemp("profiles") / "edge.parquet"
    return dscwb.save_profile(profile_of(tiny_graph(), layers_ns), path)


@pytest.fixture(scope="module")
def server(edge):
    profile = scale_profile(dscwb.load_profile(edge), 10)
    return dscwb.save_profile(profile, edge.with_name("server.parquet"))


@pytest.fixture
def asked(monkeypatch, edge):
    """The study that a command makes of its options."""

    def asked(*words):
        made = []
        monkeypatch.setattr(
            dscwb, "report", lambda study, *a, **k: made.append(study), raising=False
        )
        given = [str(word) for word in (edge, *words, "--replicates", 0, "-o", "none.html")]
        assert cli.main(["report", *given]) == 0
        return made[0]

    return asked


# Help


@pytest.mark.parametrize("command", ["sweep", "policy", "report"])
def test_every_command_has_all_options_with_units_and_examples(run, command):
    status, out, _ = run(command, "--help")
    text = " ".join(" ".join(out).split())
    assert status == 0
    assert re.match(rf"usage: dscwb {command} \[OPTIONS\] EDGE \[SERVER\]", text)
    assert sum(f"  dscwb {command} e" in line for line in out) == 2  # examples
    for option in (
        *("input-encoding", "feature-encoding", "speedup", "server-device", "rates", "batch-sizes"),
        *("rtt-ms", "overhead-bytes", "downlink", "granularity", "server-load", "device-slowdown"),
        *("private-input", "min-depth", "memory-cap-mb", "arrival-rate", "objective", "power"),
    ):
        assert f"--{option} " in text, option
    for unit in ("Mbit/s", " ms.", " MB.", " W;"):
        assert unit in text, unit
    assert text.count("[required] How") == 2


# Sweep


def test_sweep_prints_verdict_gains_and_switching_rates(run, edge, server):
    rates = ("--rates", "0.01:1:3", "--batch-sizes", "1")  # 1e4, 1e5 and 1e6 bit/s
    status, out, error = run("sweep", edge, server, *WIRE, *rates)
    assert (status, error) == (0, "")
    text = "\n".join(out)
    assert "tiny at 100. Device: bench clock, float32 (measured)" in text
    assert "Splitting pays with input float32 and features float32" in text
    # A split is best in one of three states; gains over no offloading are 0, 29/60 and 50.8/60.
    assert (
        "A split is best at 33 % of 3 points: batch size 1 and 10 kbit/s–1 Mbit/s.\n"
        "Mean gain over these points in latency, compared with"
    ) in text
    assert ["no", "offloading", "44", "%"] in [line.split() for line in out]  # 79.8 / 180
    assert "best static, no offloading" in text
    assert "minimax-regret static, no offloading" in text
    # Full offloading, at 1 Mbit/s 3.2 + 6 f, holds to f = 8; no offloading at 10 kbit/s to f < 0.
    assert "Server assumed, error unknown, 2 × slower and faster were tried: in none of" in text
    assert "No stretch of the model is slower on the server" in text
    assert [line.split() for line in out[-4:]] == [
        ["batch", "above", "Mbit/s", "up", "to", "Mbit/s", "best", "split"],
        ["1", "0", "0.0356", "no", "offloading"],
        ["1", "0.0356", "0.178", "after", "a"],
        ["1", "0.178", "∞", "full", "offloading"],
    ]


def test_sweep_says_what_is_not_possible(run, edge):
    _, out, _ = run("sweep", edge, "--speedup", 10, *WIRE, "--private-input")
    [line] = [line for line in out if line.strip().startswith("full offloading")]
    assert line.endswith("not possible")


@pytest.mark.parametrize("ending", ["csv", "parquet", "nc"])
def test_sweep_writes_every_state(run, edge, tmp_path, ending):
    path = tmp_path / "new" / f"study.{ending}"
    rates = ("--rates", "0.01:1:5", "--batch-sizes", "1,3")
    status, out, _ = run("sweep", edge, "--speedup", 10, *WIRE, *rates, "-o", path)
    assert (status, out[-1]) == (0, f"saved {path}")
    if ending == "nc":
        import xarray as xr

        with xr.open_dataset(path, engine="scipy") as data:
            assert dict(data.sizes) == {"batch_size": 2, "data_rate_bps": 5, "split": 4}
        return
    table = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
    assert len(table) == 10
    assert table["batch_size"].unique().tolist() == [1, 3]


def test_of_many_batch_sizes_those_with_times_are_listed(run, tmp_path):
    profile = profile_of(tiny_graph(), {1: [MS] * 3, 20: [9 * MS] * 3})
    path = dscwb.save_profile(profile, tmp_path / "p.parquet")
    _, out, _ = run("sweep", path, "--speedup", 10, *WIRE)
    start = next(i for i, line in enumerate(out) if line.split()[:2] == ["batch", "above"])
    assert {line.split()[0] for line in out[start + 1 :]} == {"1", "20"}


# Policy


def test_policy_writes_thresholds_and_answers(run, edge, server, tmp_path):
    path = tmp_path / "policy.json"
    sizes = ("--batch-sizes", "3,1,1")
    status, out, _ = run(
        *("policy", edge, server, *WIRE, *sizes, "-o", path, "--replicates", 40),
        *("--at", "0.1", "--at", "100 kB/s"),
    )
    assert status == 0
    assert "batch size 1 at 100 kbit/s (12.5 kB/s): after a, 200 B to send" in out
    assert "batch size 1 at 800 kbit/s (100 kB/s): full offloading, 400 B to send" in out
    words = "  Sure: >99 % by the device's measurements, and the answer stays the same"
    assert sum(line.startswith(words) for line in out) == 4
    assert out[-1] == f"saved {path}"
    found = dscwb.load_policy(path)
    assert found.batch_sizes == (1, 3)
    assert found.best_split(1, 1e5) == "a"
    [interval, _] = found.at(1).intervals
    assert interval.low_bps == pytest.approx(1600 / 0.045)
    assert found.origin.confidence.startswith("40 bootstrap replicates")
    assert json.loads(path.read_text())["format"] == "dscwb policy"


def test_a_state_on_a_threshold_is_undecided(run, edge, tmp_path):
    rate = f"{1600 / 0.045 / 1e6:.17g}"
    command = ("policy", edge, "--speedup", 10, *WIRE, "--batch-sizes", "1", "--at", rate)
    _, out, _ = run(*command, "--replicates", 40, "-o", tmp_path / "p.json")
    assert sum(line.endswith("(undecided)") for line in out) <= 1
    _, out, _ = run(*command, "--replicates", 0, "-o", tmp_path / "p.json")
    assert not any(line.endswith("(undecided)") for line in out)
    # Within a rounding of where a and no offloading cost the same, any slower server decides.
    assert any(
        "server slightly" in line and "would be best (server assumed" in line for line in out
    )
    assert dscwb.load_policy(tmp_path / "p.json").at(1).intervals == (None, None)


# Report


def test_report_writes_a_page_with_its_own_command(run, edge, tmp_path):
    path = tmp_path / "new" / "a report.html"
    status, out, _ = run("report", edge, "--speedup", 10, *WIRE, "--replicates", 40, "-o", path)
    assert (status, out) == (0, [f"saved {path}"])
    text = path.read_text(encoding="utf-8")
    assert "--speedup 10" in text
    assert "a report.html&#39;" in text  # quoted for the shell, escaped for the page
    assert "40 bootstrap replicates" in text


def test_a_link_as_output_stays_a_link(run, edge, tmp_path):
    (tmp_path / "real.csv").write_text("older")
    (tmp_path / "link.csv").symlink_to("real.csv")
    rates = ("--rates", "0.01:1:3", "--batch-sizes", "1")
    run("sweep", edge, *ASSUMED, *WIRE, *rates, "-o", tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert len(pd.read_csv(tmp_path / "real.csv")) == 3


def test_a_report_of_energy_that_is_free(run, edge, tmp_path):
    path = tmp_path / "free.html"
    free = ("--objective", "energy", "--power", "5,0,0", "--replicates", 0)
    assert run("report", edge, *ASSUMED, *WIRE, *free, "-o", path)[0] == 0


# Options


def test_every_option_reaches_the_scenario(asked):
    study = asked(
        *("--speedup", 10, "--input-encoding", "jpeg 10:1", "--feature-encoding", "int8"),
        *("--rates", "1:100:3", "--batch-sizes", "1:3", "--rtt-ms", 20, "--overhead-bytes", 40),
        *("--downlink", "1Gbit/s", "--granularity", "op", "--server-load", 2, "--min-depth", 1),
        *("--device-slowdown", 1.5, "--private-input", "--memory-cap-mb", 0.5),
        *("--arrival-rate", 30, "--objective", "energy", "--power", "5,2,0.5"),
    )
    scenario = study.scenario
    assert scenario.link == dscwb.Link(0.02, 40, 1e9)
    assert scenario.input_encoding.name == "JPEG 10:1"
    assert scenario.feature_encoding.name == "int8"
    assert (scenario.granularity, scenario.objective) == ("op", "energy")
    assert (scenario.server_load, scenario.device_slowdown) == (2, 1.5)
    assert (scenario.private_input, scenario.min_depth) == (True, 1)
    assert (scenario.memory_cap_bytes, scenario.arrival_rate_hz) == (5e5, 30)
    power = scenario.power
    assert power
    assert (power.compute_w, power.send_w, power.wait_w) == (5, 2, 0.5)
    np.testing.assert_allclose(study.data_rates_bps, [1e6, 1e7, 1e8])
    assert study.batch_sizes == (1, 2, 3)


def test_what_is_left_out_is_as_the_help_says(asked):
    study = asked("--speedup", 10, *WIRE)
    assert study.data_rates_bps.tolist() == DATA_RATES_BPS.tolist()
    assert study.batch_sizes == (1, 2, 3)
    encodings = {"input_encoding": "float32", "feature_encoding": "float32"}
    assert study.scenario == dscwb.Scenario(**encodings)


def test_a_shipped_model_is_a_profile_too(run):
    status, out, _ = run("sweep", "efficientnet_b4", "--speedup", 20, *WIRE, "--batch-sizes", 1)
    assert status == 0
    assert out[0].startswith("efficientnet_b4 at 3×380×380. Device: AMD EPYC")


def test_a_server_may_be_assumed_or_modelled(asked):
    assert asked("--speedup", 4, *WIRE).server.provenance.origin == "assumed"
    server = asked("--server-device", "t4", *WIRE).server
    assert (server.provenance.origin, server.provenance.device) == ("modelled", "T4")
    assert server.batch_sizes == (1, 3)


@pytest.mark.parametrize(
    ("text", "rate_bps"),
    [
        ("4", 4e6),
        (" 0.5 ", 5e5),
        ("4Mbit/s", 4e6),
        ("4 Mbps", 4e6),
        ("500 kbit/s", 5e5),
        ("9600bit/s", 9600),
        ("1.5Gbit/s", 1.5e9),
        ("2MB/s", 16e6),
        ("1e-3", 1e3),
    ],
)
def test_rates_are_megabits_or_have_a_unit(text, rate_bps):
    assert one_rate(text) == pytest.approx(rate_bps)


def test_rates_have_equal_ratios_and_exact_ends():
    assert len(many_rates("0.1:1000")) == 241
    found = many_rates("0.1:1000:200")
    assert (len(found), found[0], found[-1]) == (200, 1e5, 1e9)
    np.testing.assert_allclose(found, np.geomspace(1e5, 1e9, 200), rtol=1e-12)
    assert many_rates("500kbit/s:1MB/s:2") == [5e5, 8e6]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([*ASSUMED], "--input-encoding is missing; there is no default, as it decides whether"),
        ([*ASSUMED, *WIRE[:2]], "--feature-encoding is missing; there is no default"),
        ([*WIRE], "Give one server: a profile after that of the device, or --speedup 20, or"),
        ([*WIRE, *ASSUMED, "--server-device", "T4"], "Give one server"),
        ([*WIRE, "--speedup", "0"], "--speedup is 0"),
        ([*WIRE, "--server-device", "T5"], "Unknown device 'T5'; did you mean T4"),
        ([*WIRE, *ASSUMED, "--rates", "1"], "--rates is '1'; give LOW:HIGH or LOW:HIGH:NUMBER"),
        ([*WIRE, *ASSUMED, "--rates", "9:1"], "--rates is '9:1'; give LOW:HIGH"),
        ([*WIRE, *ASSUMED, "--rates", "1:9:1"], "--rates is '1:9:1'"),
        ([*WIRE, *ASSUMED, "--rates", "1:2:3:4"], "--rates is '1:2:3:4'"),
        ([*WIRE, *ASSUMED, "--rates", "0:9"], "--rates is '0:9'; give LOW:HIGH or"),
        ([*WIRE, *ASSUMED, "--rates", "a:9"], "--rates is 'a:9'; give LOW:HIGH or"),
        ([*WIRE, *ASSUMED, "--downlink", "3 apples"], "--downlink is '3 apples'; give Mbit/s"),
        ([*WIRE, *ASSUMED, "--downlink", "1e999"], "--downlink is '1e999'"),
        ([*WIRE, *ASSUMED, "--batch-sizes", "0"], "--batch-sizes is '0'; give 1,2,4 or 1:8"),
        ([*WIRE, *ASSUMED, "--batch-sizes", "9"], "No times at batch size 9"),
        ([*WIRE, *ASSUMED, "--power", "1,2"], "--power is '1,2'; give COMPUTE,SEND,WAIT in W"),
        (
            [*WIRE, *ASSUMED, "--objective", "energy"],
            "--objective energy needs --power COMP",
        ),
        ([*WIRE, *ASSUMED, "--objective", "money"], "--objective: invalid choice: 'money'"),
        (
            [*WIRE, *ASSUMED, "--server-load", "0.5"],
            "--server-load is '0.5'; give a number from 1 to",
        ),
        ([*WIRE, *ASSUMED, "--memory-cap-mb", "nan"], "--memory-cap-mb is 'nan'; give a number"),
        ([*WIRE, *ASSUMED, "--server-load", "nan"], "--server-load is 'nan'; give a number from"),
        (
            [*WIRE, *ASSUMED, "--rtt-ms", "20000"],
            "--rtt-ms is '20000'; give a number from 0 to 10,000.",
        ),
        ([*WIRE, *ASSUMED, "--power", "5,-1,1"], "--power is '-1'; give a number"),
        ([*WIRE, *ASSUMED, "--min-depth", "9"], "--min-depth is 9, but 'tiny' has 3 blocks"),
        ([*WIRE, *ASSUMED, "--memory-cap-mb", "0"], "--memory-cap-mb is 0.0; give"),
        ([*WIRE, *ASSUMED, "--rates", "1:9:100000000"], "with 2 to 10,000 rates"),
        (["--input-encoding", "gif", *WIRE[2:], *ASSUMED], "Unknown encoding 'gif'"),
        ([*WIRE, *ASSUMED, "-o", "study.txt"], "cannot write a study as .txt"),
        (
            [*WIRE, *ASSUMED, "-o", "."],
            "cannot write a study as a file without ending",
        ),
    ],
)
def test_a_mistake_is_one_line_with_value_and_remedy(run, edge, words, reason):
    status, _, error = run("sweep", edge, *words)
    assert status == 2
    assert reason in error
    assert error.startswith("dscwb: ")
    assert error.count("\n") == 1


def test_mistakes_in_files_and_other_options_are_one_line(run, edge, tmp_path):
    assert "no such file" in refused(run("sweep", tmp_path / "none.parquet", *ASSUMED, *WIRE))
    assert "required: EDGE" in refused(run("sweep"))
    command = ("policy", edge, *ASSUMED, *WIRE)
    assert "required: -o/--output" in refused(run(*command))
    output = ("-o", tmp_path / "p.json")
    assert "--at is 'fast'" in refused(run(*command, *output, "--at", "fast"))
    assert "--replicates is 3" in refused(run(*command, *output, "--replicates", 3))
    assert not (tmp_path / "p.json").exists()
    command = ("report", edge, *ASSUMED, *WIRE, "-o")
    assert "a report is written as .html" in refused(run(*command, tmp_path / "r.pdf"))
