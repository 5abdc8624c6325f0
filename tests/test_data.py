from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import dscwb
from benchmarks import data_table
from dscwb.profiles.files import load_profile

PROFILES = sorted((data_table.DATA / "profiles").glob("*.parquet"))
MOST_BYTES = 1_500_000


MACHINES = {
    "epyc-1t": ("AMD EPYC", 1),
    "epyc-2t": ("AMD EPYC", 2),
    "h200": ("NVIDIA H200", None),
    "h200-8sm": ("NVIDIA H200, 8 of 132 multiprocessors", None),
    "h200-40sm": ("NVIDIA H200, 40 of 132 multiprocessors", None),
}


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_a_shipped_profile_is_readable_small_and_named_for_what_it_holds(path: Path):
    profile = load_profile(path)
    assert path.stat().st_size < MOST_BYTES
    model, side, rest = path.stem.split("-", 2)
    machine, dtype = rest.rsplit("-", 1)
    assert profile.graph.model == model
    assert profile.graph.inputs[0].shape[-1] == int(side)
    source = profile.provenance
    assert (source.device, source.threads) == MACHINES[machine]
    assert (source.origin, source.dtype) == ("measured", dtype)
    assert profile.batch_sizes


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_stamps_cost_at_most_a_tenth_of_a_shipped_pass(path: Path):
    for passes in load_profile(path).passes:
        assert np.median(passes.stamped_ns[:, -1] / passes.plain_ns) <= 1.10, passes.batch_size


def test_shipped_are_one_core_for_all_models_and_slices_of_a_gpu_for_most():
    found = Counter(path.stem.split("-", 2)[2] for path in PROFILES)
    assert found == {
        "epyc-1t-float32": 26,
        "epyc-2t-float32": 15,
        "h200-float32": 20,
        "h200-float16": 1,
        "h200-40sm-float32": 20,
        "h200-8sm-float32": 21,
    }


@pytest.mark.parametrize("model", sorted({path.stem.split("-")[0] for path in PROFILES}))
def test_the_machine_offered_first_is_one_core_of_the_processor(model):
    source = dscwb.shipped_profile(model).provenance
    assert (source.device, source.threads) == MACHINES["epyc-1t"]


def test_the_table_of_shipped_profiles_is_up_to_date():
    remedy = "run python -m benchmarks.data_table"
    assert data_table.table() in data_table.README.read_text(), remedy
