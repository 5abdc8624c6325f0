"""Many devices, many links: a fleet that shares a pool of servers."""
