"""Profiles: the measured truth, and what becomes of it.

`records` says what a profile is and whether to believe it, `passes` holds what was measured at one
batch size, `transfers` the copies between host and device, `checks` says what none of them can be,
`files` writes and reads, `imported` makes a profile of a user's own table or of a tool's layer
times (`tools`), `resampling` draws its passes anew, `library` finds it by path or name.
"""
