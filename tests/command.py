"""What tests of the command line share; the fixture `run` stands in conftest."""


def refused(result: tuple[int, list[str], str]) -> str:
    """The one line on stderr, without the program's name."""
    status, out, error = result
    assert (status, out) == (2, [])
    assert error.startswith("dscwb: ")
    assert error.count("\n") == 1
    return error.removeprefix("dscwb: ").strip()
