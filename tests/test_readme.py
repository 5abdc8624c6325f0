"""The README's example runs as it stands, and its command lines name what exists."""

import re
from pathlib import Path

import dscwb.__main__  # knows all commands
from dscwb.cli.options import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_example_runs_and_answers(tmp_path, monkeypatch, capsys):
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.strip().splitlines()) <= 11
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    decision = names["study"].at(4, 5e6)  # type: ignore[attr-defined]
    assert decision.split in capsys.readouterr().out
    assert decision.latency_s > 0
    assert "plotly" in (tmp_path / "best_split.html").read_text(encoding="utf-8")


def test_files_and_commands_that_it_names_exist():
    for path in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / path).is_file(), path
    assert set(re.findall(r"^dscwb ([a-z]+) ", README, re.MULTILINE)) <= set(COMMANDS.choices)
    targets = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make (\w+)", README):
        assert re.search(rf"^{target}:", targets, re.MULTILINE), target
    assert dscwb.__version__ in README
