"""Profiles: the measured truth, and what becomes of it.

`records` says what a profile is and whether to believe it, `passes` holds what was measured at one
batch size, `transfers` the copies between host and device, `files` writes and reads, `imported`
makes a profile of a user's own table, `resampling` draws its passes anew.
"""

from dscwb.profiles.records import Passes, Profile, ProfileError, Provenance, scale_profile

__all__ = ["Passes", "Profile", "ProfileError", "Provenance", "scale_profile"]
