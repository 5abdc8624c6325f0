"""Capture: a timm name or any `nn.Module` as a graph of layers, with runnable heads and tails.

`models` and `inputs` read what the user gives, `captured` has torch.export trace it, `exported`
makes code and records of the program (`memory`, `flops`, `blocks`), `checking` runs both, `halves`
cuts in two. `failures` says why something did not work, `precision` sets how the arithmetic rounds.
"""
