"""Profiles: the measured truth, and what becomes of it.

`records` says what a profile is and whether to believe it, `passes` holds what was measured at one
batch size, `transfers` the copies between host and device. `files` writes and reads, and `checks`
looks at the graphs. `imported` makes a profile of a user's own table or of a tool's layer times
(`tools` reads them, `placing` finds them in the graph). `resampling` draws passes anew, `library`
finds a profile by path or name.
"""
