"""Timings that somebody else measured and published come in, and what they concluded comes out.

EfficientNet-B0 on an underclocked TITAN Xp (device) and an RTX 3090 Ti (server), printed in the
notebooks of K. Ise's BW-DSC and BW-DSCwithDP with the best split in every state: one map with all
candidates and mixed bit widths, one without full offloading and with 8 bits. Both take T = head +
payload / rate + tail at 1, 2, 3, ... MB/s. `published` holds the maps as they were printed.
"""

import csv
from pathlib import Path

import numpy as np
import pytest

import dscwb

TIMINGS = Path("data/imported/efficientnet_b0-224-titan_xp-rtx_3090_ti.csv")
PUBLISHED = Path(__file__).parent / "published"
IMAGE_BYTES = 224 * 224 * 3  # uint8
ENDS = ["no offloading", "full offloading"]
MB_PER_S = 8e6  # bit/s

# What crosses, in shares of the image's bytes, as the notebooks print it.
MIXED = {
    "blocks_1": 2 / 3,
    "blocks_2": 3 / 8,
    "blocks_4": 5 / 48,
    "blocks_6": 5 / 96,
    "blocks_10": 7 / 192,
    "blocks_12": 1 / 32,
    "blocks_15": 1 / 64,
}
EIGHT_BITS = {"blocks_2": 1 / 2, "blocks_4": 5 / 24, "blocks_6": 5 / 48, "blocks_12": 1 / 16}


def published(name):
    return np.loadtxt(PUBLISHED / name, dtype=int, delimiter=",")


def study_of(profile, megabytes_per_s, *, input_encoding="uint8", feature_encoding="uint8", **more):
    return dscwb.sweep(
        profile,
        profile,
        link=dscwb.Link(),
        input_encoding=input_encoding,
        feature_encoding=feature_encoding,
        data_rates_bps=MB_PER_S * np.arange(1, megabytes_per_s + 1),
        **more,
    )


def with_payloads(folder, shares):
    """The published times of these splits, with what the authors sent there."""
    sent = {"input": 1.0, **shares, "output": 0.0}
    with TIMINGS.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] in sent]
    for row in rows:
        row["payload_bytes"] = round(sent[row["split"]] * IMAGE_BYTES) * int(row["batch_size"])
    path = folder / "theirs.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return dscwb.profile_from_csv(path, device="TITAN Xp and RTX 3090 Ti", dtype="uint8")


def test_all_3810_best_splits_are_those_published(tmp_path):
    study = study_of(with_payloads(tmp_path, MIXED), 127)
    want = np.array([*ENDS, *MIXED])[published("best_split.csv")]
    assert want.shape == (30, 127)
    np.testing.assert_array_equal(study.best_split().to_numpy(), want)
    assert study.usefulness() == pytest.approx(1988 / 3810)  # "52.18 %"


def test_all_1890_best_splits_without_full_offloading_are_those_published(tmp_path):
    study = study_of(with_payloads(tmp_path, EIGHT_BITS), 63, private_input=True)
    want = np.array([ENDS[0], *EIGHT_BITS])[published("best_split_private.csv")]
    assert want.shape == (30, 63)
    np.testing.assert_array_equal(study.best_split().to_numpy(), want)


@pytest.mark.parametrize(
    ("image", "features", "over_no", "over_full", "useful"),
    [
        ("uint8", "float32", 0.59, 0.04, 0.06),
        ("uint8", "int8", 0.63, 0.08, 0.27),
        ("float32", "float32", 0.43, 0.33, 0.88),
    ],
)
def test_what_the_payload_convention_makes_of_them(image, features, over_no, over_full, useful):
    """Against figures that were computed from the same table by other code, to whole per cents."""
    profile = dscwb.profile_from_csv(TIMINGS, device="TITAN Xp and RTX 3090 Ti")
    study = study_of(profile, 127, input_encoding=image, feature_encoding=features)
    gains = study.mean_gain("no offloading"), study.mean_gain("full offloading")
    assert (*gains, study.usefulness()) == pytest.approx((over_no, over_full, useful), abs=0.0051)
    # Of two machines, so head and tail need not add up; the caption says by how much.
    assert "head + tail = " in study.label()
