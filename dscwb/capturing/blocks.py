"""A model's own repeated units: an `nn.Module` goes in, the paths of its blocks come out.

The paper's "layer" is one MBConv block, one transformer block, one residual block; in a plain
chain such as VGG's it is each convolution and each pooling of the feature extractor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
POOLINGS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
# A Sequential with this many weights of its own and no composite in it is a plain chain.
PLAIN_CHAIN_WEIGHTS = 3


@dataclass(frozen=True)
class Unit:
    """A block as the module tree shows it.

    Attributes:
        path: Module path, ``blocks.0.0``.
        kind: Class name.
        members: Paths of the modules that belong to it, itself first.
    """

    path: str
    kind: str
    members: tuple[str, ...]


def find_blocks(model: nn.Module) -> list[Unit]:
    """The repeated units of a model in the order of its module tree; empty where there is none.

    A *composite* holds at least two weight matrices. Lists (Sequential, ModuleList, ModuleDict,
    stages made of one class) are walked down as long as they hold composites; the first composite
    that holds no such list is a block. A model without lists of composites is read as a plain chain
    of convolutions, else its composite children are its blocks.
    """
    listed = [Unit(path, type(m).__name__, (path,)) for path, m in _listed(model, "", False)]
    if listed:
        return listed
    chain = _plain_chain(model)
    if chain:
        return chain
    children = [(path, m) for path, m in model.named_children() if _is_composite(m)]
    units = [Unit(path, type(m).__name__, (path,)) for path, m in children]
    return units if len(units) > 1 else []


def _is_composite(module: nn.Module) -> bool:
    return sum(p.ndim >= 2 for p in module.parameters()) >= 2


def _composites(module: nn.Module) -> list[nn.Module]:
    return [child for child in module.children() if _is_composite(child)]


def _is_list(module: nn.Module) -> bool:
    """Whether its composite children are repeated units or stages of them."""
    inside = _composites(module)
    if not inside:
        return False
    if isinstance(module, LISTS) or "Stage" in type(module).__name__:
        return True
    kinds = {type(child) for child in inside}
    return len(inside) > 1 and len(kinds) == 1 and not kinds & set(LISTS)


def _holds_list(module: nn.Module) -> bool:
    return any(_is_list(inner) for inner in module.modules())


def _listed(module: nn.Module, path: str, in_list: bool) -> Iterator[tuple[str, nn.Module]]:
    """Blocks below a module: the outermost composites inside lists that hold no list themselves."""
    if in_list and not _holds_list(module):
        yield path, module
        return
    inside_list = _is_list(module)
    for name, child in module.named_children():
        child_path = f"{path}.{name}" if path else name
        if _is_stages(module):
            for inner, unit in child.named_children():
                if _is_weighted(unit):
                    yield from _listed(unit, f"{child_path}.{inner}", True)
        elif _is_composite(child):
            yield from _listed(child, child_path, inside_list)


def _is_stages(module: nn.Module) -> bool:
    """Whether it is a list of lists of blocks; there a single convolution with its norm counts too.

    EfficientNetV2's first stage consists of such convolutions.
    """
    children = list(module.children())
    lists = isinstance(module, LISTS) and all(isinstance(child, LISTS) for child in children)
    return lists and any(_is_list(child) for child in children)


def _is_weighted(module: nn.Module) -> bool:
    return next(module.children(), None) is not None and any(
        p.ndim >= 2 for p in module.parameters()
    )


def _plain_chain(model: nn.Module) -> list[Unit]:
    """Each convolution (else linear layer) and pooling of the largest plain Sequential."""
    chains = [
        (path, m)
        for path, m in model.named_modules()
        if isinstance(m, nn.Sequential)
        and sum(isinstance(c, (*CONVOLUTIONS, nn.Linear)) for c in m) >= PLAIN_CHAIN_WEIGHTS
    ]
    if not chains:
        return []
    path, chain = max(chains, key=lambda found: len(found[1]))
    convolutional = any(isinstance(c, CONVOLUTIONS) for c in chain)
    starts = (*CONVOLUTIONS, *POOLINGS) if convolutional else (nn.Linear,)
    units: list[Unit] = []
    for name, child in chain.named_children():
        child_path = f"{path}.{name}" if path else name
        if isinstance(child, starts):
            units.append(Unit(child_path, type(child).__name__, (child_path,)))
        elif isinstance(child, (nn.Flatten, nn.Linear)):
            break  # the classifier begins
        elif units:  # its normalisation and activation
            last = units[-1]
            units[-1] = Unit(last.path, last.kind, (*last.members, child_path))
    return units
