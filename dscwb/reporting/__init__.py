"""Reports: two profile files go in, one standalone page with figures, tables and sources comes out.

`reports` says what stands on it, `sources` where its numbers are from, `markup` writes the HTML.
"""
