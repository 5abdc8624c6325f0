"""The tests, one file for each room; a package so that they can share `tests.browser`."""
