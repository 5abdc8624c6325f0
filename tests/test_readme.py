"""The README's example runs as it stands, and its command lines name what exists."""

import re
from pathlib import Path

import dscwb.__main__  # knows all commands
from dscwb.cli.options import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_example_runs_and_answers(tmp_path, monkeypatch, capsys):
    code, _, many = EXAMPLES
    assert len(code.strip().splitlines()) <= 11
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    decision = names["study"].at(4, 5e6)  # type: ignore[attr-defined]
    assert decision.split in capsys.readouterr().out
    assert decision.latency_s > 0
    assert "plotly" in (tmp_path / "best_split.html").read_text(encoding="utf-8")
    exec(many, names)
    assert len(list((tmp_path / "cells").iterdir())) == 4
    table = names["table"]
    assert set(table["link"]) == {"wifi", "lte"}  # type: ignore[index]


def test_how_many_jetsons_a_t4_serves_is_answered_in_ten_lines(monkeypatch, capsys):
    _, code, _ = EXAMPLES
    assert len(code.strip().splitlines()) - 2 <= 10  # the import and the empty line below it
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    exec(code, names)
    said = capsys.readouterr().out
    told = re.match(r"Devices: (\d+) have 90 % .* late; (\d+) have not", said)
    assert told
    assert 20 < int(told[1]) == int(told[2]) - 1 < 35
    assert said.count("(modelled:") == 2


def test_files_and_commands_that_it_names_exist():
    for path in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / path).is_file(), path
    assert set(re.findall(r"^dscwb ([a-z]+) ", README, re.MULTILINE)) <= set(COMMANDS.choices)
    targets = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make (\w+)", README):
        assert re.search(rf"^{target}:", targets, re.MULTILINE), target
    assert dscwb.__version__ in README
