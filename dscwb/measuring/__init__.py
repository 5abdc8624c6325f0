"""Measuring: the times of every head and tail of a captured model on this device, as a profile.

`measure` is the way in, `clocks` holds the only clocks, `rounds` says what runs when, `record` when
it is enough, `checkpoint` keeps what was run, `gpu` is what only a GPU has.
"""
