"""Work that outgrows one process: many cells on any executor, many boards on one shelf.

`grids` asks one function at every combination of labels, `sizes` how many devices a server holds;
`plans` and `boards` have models measured by the machines that own the clocks. `digests` says
whether two questions are the same.
"""
