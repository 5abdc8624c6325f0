"""Capture: a timm name or any `nn.Module` goes in, its graph and runnable heads and tails come out.

`exported` asks torch.export, `captured` keeps what it answers, `halves` cuts it in two, `blocks`
finds the units that a model repeats, `precision` sets how its arithmetic rounds.
"""
