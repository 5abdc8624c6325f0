"""Measuring: a captured model and a device go in, a profile of really measured times comes out.

`measure` holds the only clock, `rounds` plans the passes, `checkpoint` keeps those of an
interrupted run, `compiled` measures what torch.compile makes, `copies` and `nvml` ask the GPU.
"""
