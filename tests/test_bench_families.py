from pathlib import Path

import pytest

from benchmarks import families
from benchmarks.families import Row

GOOD = Row(
    "vgg", "vgg11", 132_863_336, "3x224x224", 31, 3.41, 467.65, 0.017, 686.32, 0.005, 12, 12,
    date="2026-11-23", machine="a processor, 1 thread", versions="timm 1.0",
)  # fmt: skip
BAD = Row("resnet", "resnet10t", 5_436_584, reason='capture: CaptureError: x = y, "z"')
UNEQUAL = Row("vit", "vit_tiny", 1, cuts=3, t1_ms=1.0, t2_ms=1.0, equal=2, tried=3)


def test_a_family_is_good_if_all_its_cuts_are_equal_and_nothing_failed():
    assert [row.ok for row in (GOOD, BAD, UNEQUAL, Row("none"))] == [True, False, False, False]


def test_rows_come_back_from_their_file_as_they_were(tmp_path):
    path = tmp_path / "families.csv"
    assert families.read(path) == {}
    families.write(path, [GOOD, BAD])
    assert list(families.read(path).items()) == [("resnet", BAD), ("vgg", GOOD)]
    assert [p.name for p in tmp_path.iterdir()] == ["families.csv"]


def test_each_row_is_written_as_soon_as_it_is_there_and_others_stay(tmp_path, capsys):
    path, seen = tmp_path / "families.csv", []
    families.write(path, [BAD])

    def one(family: str) -> Row:
        seen.append(sorted(families.read(path)))
        return GOOD if family == "vgg" else UNEQUAL

    families.run(["vgg", "vit"], path, one)
    assert seen == [["resnet"], ["resnet", "vgg"]]
    assert families.read(path) == {"resnet": BAD, "vgg": GOOD, "vit": UNEQUAL}
    assert "vit: vit_tiny, equal at 2 of 3" in capsys.readouterr().out


def test_a_process_that_dies_or_takes_too_long_costs_its_row_only():
    assert families.run_apart("no such family").reason.startswith("counting parameters: ValueError")
    assert families.run_apart("vgg", limit_s=1e-9).reason == "took longer than 1e-09 s"


@pytest.mark.parametrize(
    ("number", "places"),
    [(2, [0, 9]), (3, [0, 4, 9]), (10, list(range(10))), (99, list(range(10)))],
)
def test_cuts_are_spread_from_the_first_to_the_last(number, places):
    assert families.spread(range(10), number) == places


def test_the_page_says_what_is_good_and_what_failed():
    page = families.markdown([BAD, GOOD, UNEQUAL])
    assert "**1 of 3 families**" in page
    assert "14 of 15 cuts" in page
    assert '* `resnet` (resnet10t): capture: CaptureError: x = y, "z"' in page
    assert "* `vit` (vit_tiny): head and tail differ at 1 cuts" in page
    assert (
        "| `vgg` | `vgg11` | 132.86 M | 3 × 224 × 224 | 31 | 3.4 s | 467.6 ms | 2% | 686.3 ms | 0% "
        "| 12 of 12 cuts |" in page
    )
    assert "* Machine: a processor, 1 thread" in page
    assert "What failed" not in families.markdown([GOOD])


def test_the_page_in_data_is_what_its_rows_say():
    rows = sorted(families.read(families.CSV).values(), key=lambda row: row.family)
    assert rows
    remedy = "run python -m benchmarks.families --table"
    assert Path(families.MARKDOWN).read_text() == families.markdown(rows), remedy
