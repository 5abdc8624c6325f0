import math
import re

import pytest

import dscwb
from dscwb.devices import datasheets
from dscwb.devices.datasheets import (
    DEFAULT_EFFICIENCY,
    Device,
    Efficiency,
    catalogue,
    device,
    devices,
)

FULL, LOCKED = "RTX 2080 Ti", "RTX 2080 Ti at 300 MHz"


def test_every_device_has_a_source_and_positive_figures():
    known = catalogue()
    assert len(known) >= 14
    assert len({one.name.lower() for one in known}) == len(known)
    for one in known:
        assert re.search(r", .+, 20\d\d", one.source), f"{one.name}: title, publisher, year"
        figures = [*one.peak_flop_per_s.values(), one.bandwidth_bytes_per_s, one.memory_bytes]
        assert all(0 < figure < math.inf for figure in [*figures, one.assumed_overhead_s])
        assert "float32" in one.peak_flop_per_s


WANTED = (
    *(FULL, LOCKED, "Jetson TX2", "Jetson Xavier NX", "Jetson AGX Xavier", "Jetson Orin Nano"),
    *("Jetson AGX Orin", "Raspberry Pi 4", "Raspberry Pi 5", "Snapdragon"),
    *("T4", "A100", "H100", "H200"),
)


@pytest.mark.parametrize("wanted", WANTED)
def test_the_catalogue_holds_what_was_asked_for(wanted):
    assert any(wanted in one.name for one in catalogue())


@pytest.mark.parametrize(
    ("name", "dtype", "cores", "flop_a_cycle", "clock_hz"),
    [
        (FULL, "float32", 4352, 2, 1.545e9),
        (FULL, "float16", 544, 64, 1.545e9),  # tensor cores, float32 accumulation at half speed
        (LOCKED, "float32", 4352, 2, 0.3e9),
        (LOCKED, "float16", 544, 64, 0.3e9),
        ("Jetson Nano", "float32", 128, 2, 0.9216e9),
        ("Jetson TX2", "float32", 256, 2, 1.3e9),
        ("Jetson TX2", "float16", 256, 4, 1.3e9),
        ("Jetson Xavier NX", "float32", 384, 2, 1.1e9),
        ("Jetson Xavier NX", "float16", 48, 128, 1.1e9),
        ("Jetson AGX Xavier", "float32", 512, 2, 1.377e9),
        ("Jetson AGX Xavier", "float16", 64, 128, 1.377e9),
        ("Jetson Orin Nano 8GB", "float32", 1024, 2, 0.625e9),
        ("Jetson Orin Nano 8GB", "float16", 32, 512, 0.625e9),
        ("Jetson AGX Orin 64GB", "float32", 2048, 2, 1.3e9),
        ("Jetson AGX Orin 64GB", "float16", 64, 512, 1.3e9),
        ("Raspberry Pi 4", "float32", 4, 8, 1.5e9),
        ("Raspberry Pi 5", "float32", 4, 16, 2.4e9),
        ("T4", "float32", 2560, 2, 1.59e9),
        ("A100 SXM 80GB", "float32", 6912, 2, 1.41e9),
        ("H100 SXM", "float32", 16896, 2, 1.98e9),
        ("H200 SXM", "float32", 16896, 2, 1.98e9),
    ],
)
def test_peaks_are_cores_times_operations_times_clock(name, dtype, cores, flop_a_cycle, clock_hz):
    expected = cores * flop_a_cycle * clock_hz
    assert device(name).peak_flop_per_s[dtype] == pytest.approx(expected, rel=0.01)


def test_the_papers_device_is_the_locked_card_and_says_where_the_paper_differs():
    """The paper states 2.37 TFLOP/s; 4352 cores, 2 operations, 300 MHz give 2.61."""
    full, locked = device(FULL), device(LOCKED)
    for dtype, peak in locked.peak_flop_per_s.items():
        assert peak == pytest.approx(full.peak_flop_per_s[dtype] * 300 / 1545, rel=0.01)
    assert 2.37e12 / locked.peak_flop_per_s["float32"] == pytest.approx(0.91, abs=0.005)
    assert "2.37 TFLOP/s" in locked.notes
    assert locked.bandwidth_bytes_per_s == full.bandwidth_bytes_per_s


def test_the_table_has_a_row_a_device_and_a_column_a_figure():
    table = devices().set_index("name")
    assert len(table) == len(catalogue())
    assert table.loc["T4", "float16_flop_per_s"] == 65e12
    assert table.loc["T4", "power_w"] == 70
    assert table["float16_flop_per_s"].isna()["Raspberry Pi 4"]
    assert table["power_w"].isna()[LOCKED]
    assert {"bandwidth_bytes_per_s", "memory_bytes", "source", "derived"} <= set(table.columns)


def test_a_device_is_found_by_its_name():
    assert device("jetson tx2").name == "Jetson TX2"
    with pytest.raises(ValueError, match="Unknown device 'Jetson TX1'; did you mean Jetson TX2"):
        device("Jetson TX1")
    with pytest.raises(
        ValueError, match=r"Unknown device '☃'; .* RTX 2080 Ti at 300 MHz or"
    ) as told:
        device("☃")
    # The remedy works as it is written.
    assert "dscwb.catalogue() or `dscwb devices` lists all, dscwb.Device(...) makes" in str(
        told.value
    )
    assert dscwb.catalogue() == catalogue()
    assert dscwb.Device is Device


def test_the_datasheets_are_parsed_once_however_often_they_are_asked_for(monkeypatch):
    """A slider's move asks several times, and parsing takes longer than all the rest of it."""
    parsed, loads = [], datasheets.tomllib.loads

    def counted(text):
        parsed.append(text)
        return loads(text)

    monkeypatch.setattr(datasheets.tomllib, "loads", counted)
    catalogue.cache_clear()
    for name in ("T4", "Jetson TX2", "T4"):
        assert device(name) in catalogue()
    assert len(devices()) == len(catalogue())
    assert len(parsed) == 1


@pytest.mark.parametrize(
    "figures",
    [
        {"peak_flop_per_s": {}},
        {"peak_flop_per_s": {"float32": 0.0}},
        {"bandwidth_bytes_per_s": math.inf},
        {"memory_bytes": math.nan},
        {"assumed_overhead_s": -1.0},
        {"power_w": -5.0},
    ],
)
def test_a_device_that_cannot_be_is_refused(figures):
    fine = {
        "peak_flop_per_s": {"float32": 1e9},
        "bandwidth_bytes_per_s": 1e9,
        "memory_bytes": 1e9,
        "assumed_overhead_s": 0.0,
    }
    with pytest.raises(ValueError, match=r"'toy'.*finite and above zero"):
        Device("toy", "cpu", source="a test", **(fine | figures))


def test_an_efficiency_says_what_it_is():
    said = "rough default: dense 0.5, depthwise 0.1, product 0.6, memory 0.5"
    assert str(DEFAULT_EFFICIENCY["cpu"]) == said
    assert str(DEFAULT_EFFICIENCY["gpu"]).startswith("fitted to an NVIDIA H200: dense 0.")
    own = Efficiency(0.5, 0.25, 1, 1, overhead_s=12e-6, kernel_s=5e-6)
    assert str(own) == (
        "given by hand: dense 0.5, depthwise 0.25, product 1, memory 1, 12 µs an op, 5 µs a kernel"
    )
