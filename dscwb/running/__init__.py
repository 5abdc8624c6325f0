"""The split at work: two ends, a link between them, and what was predicted against what happened.

The frames that travel are described in this folder's ``README.md``, so that a client can be written
from it alone.
"""
