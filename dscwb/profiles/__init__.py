"""Profiles: the measured truth, and what becomes of it.

`records` says what a profile is, `files` writes and reads it, `imported` makes one of a user's own
table, `transfers` holds the copies between host and device, `trust` and `resampling` say how sure
its numbers are.
"""

from dscwb.profiles.records import Passes, Profile, ProfileError, Provenance, scale_profile

__all__ = ["Passes", "Profile", "ProfileError", "Provenance", "scale_profile"]
