from pathlib import Path

import pytest

from benchmarks import data_table
from dscwb.profiles.files import load_profile

PROFILES = sorted((data_table.DATA / "profiles").glob("*.parquet"))
MOST_BYTES = 1_500_000


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_a_shipped_profile_is_readable_small_and_named_for_what_it_holds(path: Path):
    profile = load_profile(path)
    assert path.stat().st_size < MOST_BYTES
    model, side, _, threads, dtype = path.stem.rsplit("-", 4)
    assert profile.graph.model == model
    assert profile.graph.inputs[0].shape[-1] == int(side)
    assert (profile.provenance.threads, profile.provenance.dtype) == (int(threads[:-1]), dtype)
    assert profile.provenance.origin == "measured"
    assert profile.batch_sizes


def test_the_table_of_shipped_profiles_is_up_to_date():
    remedy = "run python -m benchmarks.data_table"
    assert data_table.table() in data_table.README.read_text(), remedy
