"""`dscwb profile` with TF32, compiled, and on a GPU."""

from dataclasses import replace

import numpy as np
import pytest

import dscwb
from dscwb.measuring import clocks, measure
from dscwb.profiles.records import Passes, Profile, Provenance, Separate
from dscwb.profiles.transfers import Transfers
from tests.machine import Machine
from tests.tiny import profile_of, tiny_graph

SMALL = "mobilenetv3_small_050"


@pytest.fixture
def asked(monkeypatch):
    """What the command asks `dscwb.profile` for; nothing is measured."""
    options = {}

    def measured(captured, sizes, **given):
        options.update(given)
        return profile_of(tiny_graph(), {1: [1000, 2000, 3000]}, rounds=5)

    monkeypatch.setattr(dscwb, "capture", lambda *args, **given: None)
    monkeypatch.setattr(dscwb, "profile", measured)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    return options


def test_neither_tf32_nor_compiling_unless_asked(run, asked, tmp_path):
    assert run("profile", SMALL, "-o", tmp_path / "p.parquet")[0] == 0
    assert (asked["tf32"], asked["compiler"]) == (False, None)


def test_both_are_handed_on(run, asked, tmp_path):
    path = tmp_path / "p.parquet"
    assert run("profile", SMALL, "--device", "cuda", "--tf32", "--compile", "-o", path)[0] == 0
    assert (asked["tf32"], asked["compiler"]) == (True, "inductor")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--device", "cpu"], "float32 on cpu"),
        (["--device", "cuda", "--dtype", "float16"], "float16 on cuda"),
    ],
)
def test_tf32_without_meaning_is_named_with_a_remedy(run, asked, tmp_path, options, found):
    status, out, error = run("profile", SMALL, "--tf32", *options, "-o", tmp_path / "p.parquet")
    assert (status, out, asked) == (2, [], {})
    assert error.count("\n") == 1
    assert f"this is {found}; leave it out" in error


def test_a_compiled_profile_is_measured_shown_and_saved(run, tmp_path, monkeypatch):
    names = []

    def as_it_is(name):
        names.append(name)
        return lambda code: code

    monkeypatch.setattr(measure, "compiler_named", as_it_is)
    path = tmp_path / "compiled.parquet"
    status, out, _ = run(
        *("profile", SMALL, "--image-size", 32, "--threads", 1, "--compile"),
        *("--passes", 10, "--budget", 0, "-o", path),
    )
    assert (status, names) == (0, ["inductor"])
    assert ", compiled, 1 thread, float32 (measured: torch.compile (inductor)" in out[0]
    found = dscwb.load_profile(path)
    cuts = int(np.isfinite(found.head_s(1)).sum()) - 2  # without the ends
    assert cuts >= 3
    assert f"5 none stamped {cuts} cuts run" in " ".join(out[2].split())
    assert out[-1] == f"saved {path}"


@pytest.fixture
def shown(run, tmp_path, monkeypatch):
    """What is shown of a profile as if it had just been measured; the last line, `saved`, apart."""

    def shown(profile):
        monkeypatch.setattr(dscwb, "capture", lambda *args, **given: None)
        monkeypatch.setattr(dscwb, "profile", lambda *args, **given: profile)
        status, out, _ = run("profile", SMALL, "-o", tmp_path / "p.parquet")
        assert status == 0
        return out[:-1]

    return shown


def test_the_model_error_is_shown_with_its_half_width(shown):
    graph, rounds = tiny_graph(), np.array([100] * 5)
    stamped = np.linspace([0] * 5, rounds, len(graph.layers) + 1, dtype=int).T
    # Heads of 30 and 32 beside a whole of 100, where the one pass says 33.
    halves = Separate(1, np.array([30, 32]), np.array([67, 67]), np.array([100, 100]))
    passes = Passes(1, rounds, stamped, (halves,))
    measured = Profile(graph, Provenance("measured", "bench clock"), (passes,))
    assert "2.0 % ± 1.0 %, 0 % ± 0 %; 2.0 %" in shown(measured)[2]


def test_copies_and_throttling_are_shown(shown):
    tiny = profile_of(tiny_graph(), {1: [1000, 2000, 3000]}, rounds=5)
    assert len(shown(tiny)) == 3
    copies = Transfers(
        np.array([200, 400_000]),
        np.array([[5000, 6000, 7000], [90_000, 80_000, 20_000_000]]),
        np.array([[4000, 4000, 4000], [70_000, 70_000, 70_000]]),
    )
    hot = replace(tiny.provenance, throttled=("software power cap", "hardware slowdown"))
    assert shown(replace(tiny, provenance=hot, transfers=copies))[3:] == [
        "copies through pinned memory: 200 B in 6 µs to the host and 4 µs to the device, "
        "400 kB in 90 µs to the host and 70 µs to the device",
        "THROTTLED by software power cap and hardware slowdown: times may be too long",
    ]


def test_a_compiled_profile_by_hand(shown):
    none, whole = np.zeros(0, np.int64), np.array([6000, 6000, 6000])
    nothing = np.zeros(3, np.int64)
    separate = (
        Separate(0, nothing, whole, whole),
        Separate(2, whole // 2, whole // 3, whole),
        Separate(3, whole, nothing, whole),
    )
    here = Provenance("measured", "bench clock, compiled")
    one = Passes(1, none, none.reshape(0, 4), separate)
    out = shown(Profile(tiny_graph(), here, (one,)))
    assert " ".join(out[2].split()) == "1 6 µs 0 % 3 none stamped 1 cuts run ok"


def test_a_file_that_is_there_is_gone_on_from_and_nothing_in_it_is_lost(
    run, tmp_path, caplog, monkeypatch
):
    path = tmp_path / "p.parquet"
    machine = Machine()  # on a real one stamps may seem dear, and more rounds be needed
    monkeypatch.setattr(dscwb, "capture", lambda *args, **given: machine.model())
    monkeypatch.setattr(clocks, "CpuClock", lambda cuts: machine.clock())
    command = ("profile", SMALL, "--passes", 10, "--budget", 0)

    def measure(*more):
        caplog.clear()
        with caplog.at_level("INFO", "dscwb"):
            status, out, _ = run(*command, *more, "-o", path)
        assert status == 0
        assert not list(tmp_path.glob("*.unfinished"))
        return out[-1], caplog.text, dscwb.load_profile(path)

    last, _, first = measure("--threads", 1)
    assert last == f"saved {path}"
    written = path.read_bytes()

    last, log, _ = measure("--threads", 1)
    assert last == f"{path} has all of this already; to measure it anew, give another file"
    assert "going on after 5 rounds of an earlier measurement" in log
    assert path.read_bytes() == written

    last, _, both = measure("--threads", 1, "--batch-sizes", "1,2")
    assert (last, both.batch_sizes) == (f"saved {path}", (1, 2))
    np.testing.assert_array_equal(both.passes[0].plain_ns, first.passes[0].plain_ns)

    machine = Machine((100, 300, 500))  # two threads take other times
    last, log, other = measure("--threads", 2)
    assert "measuring from the start, for there has changed: threads (1, now 2)" in log
    assert other.provenance.threads == 2
    aside = next(tmp_path.glob("p-*.parquet"))
    assert last == f"saved {path}; what was there before is now in {aside}"
    assert dscwb.load_profile(aside).batch_sizes == (1, 2)


@pytest.mark.parametrize("content", [b"a letter", b"PAR1 cut short"])
def test_a_file_that_is_no_profile_is_left_alone(run, tmp_path, content):
    path = tmp_path / "letter.parquet"
    path.write_bytes(content)
    status, _, error = run("profile", "test_resnet", "--image-size", 32, "-o", path)
    assert status == 2
    assert "Remove it, or write to another file." in error
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["x.csv", "x", "x.parquet.gz"])
def test_a_name_that_is_no_profiles_is_refused_before_anything_is_measured(
    run, asked, tmp_path, name
):
    status, _, error = run("profile", SMALL, "-o", tmp_path / name)
    assert (status, asked, list(tmp_path.iterdir())) == (2, {}, [])
    assert "a profile is a Parquet file: give a name that ends in .parquet" in error


def test_a_foreign_file_with_the_checkpoints_name_stays(run, tmp_path, monkeypatch):
    machine = Machine()
    monkeypatch.setattr(dscwb, "capture", lambda *args, **given: machine.model())
    foreign = tmp_path / "p.parquet.unfinished"
    foreign.write_text("a letter")
    status, _, error = run("profile", SMALL, "-o", tmp_path / "p.parquet")
    assert (status, machine.log, foreign.read_text()) == (2, [], "a letter")
    assert "Remove it, or write to another file." in error


def test_a_link_stays_and_the_file_it_points_to_is_written(run, tmp_path, monkeypatch):
    machine = Machine()
    monkeypatch.setattr(dscwb, "capture", lambda *args, **given: machine.model())
    monkeypatch.setattr(clocks, "CpuClock", lambda cuts: machine.clock())
    link, target = tmp_path / "link.parquet", tmp_path / "far" / "p.parquet"
    link.symlink_to(target)
    command = ("profile", SMALL, "--passes", 10, "--budget", 0, "-o", link)
    for threads in (1, 2):  # the second one sets the first one's file aside
        machine.layers_ns = (100, 300, 500 + threads)
        assert run(*command, "--threads", threads)[0] == 0
        assert link.is_symlink()
        assert dscwb.load_profile(target).provenance.threads == threads
    assert len(list(target.parent.iterdir())) == 2
