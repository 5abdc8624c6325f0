"""A model's own repeated units along its main road, from its module tree and its captured graph.

The paper's "layer" is one MBConv block, one transformer block, one residual block; in a plain
chain such as VGG's it is each convolution and each pooling of the feature extractor.

The tree says what repeats, the graph what lies on the road: a squeeze-and-excite path, a weight
made of other weights, one of several branches, a part inside a shortcut is no block.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from dscwb.capturing.road import Road, parents
from dscwb.graph import Block, ModelGraph

LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
POOLINGS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
# A Sequential with this many weights of its own and no composite in it is a plain chain.
PLAIN_CHAIN_WEIGHTS = 3
# A stage's work is in its blocks, a block's is not in its squeeze-and-excite path: the share of
# FLOPs that parts must hold before they, not the whole, are the blocks. Stages hold nearly all;
# a cross-stage part behind a strided convolution half; squeeze paths below a tenth.
LEAST_SHARE = 0.25
# Where they stand in no list, two attentions of a decoder layer are parts of it, not its blocks.
UNLISTED_SHARE = 0.9
Classes = frozenset[type[nn.Module]]


def find_blocks(model: nn.Module, graph: ModelGraph) -> tuple[Block, ...]:
    """The repeated units on a model's main road, ordered by their ends; empty where there is none.

    A *composite* holds at least two weight matrices. Composites in a list (Sequential, ModuleList,
    ModuleDict), and children of a module of which at least two have one class, are candidates if
    the later ones need the earlier ones' results: siblings in parallel are branches.

    A candidate that holds candidates is a *stage* if all data passes at each inner one's end: what
    else is alive there also passes the whole stage by, or is read by later inner ones only, as a
    decoder's memory is. Then the inner ones are the blocks, else the outer one is. The answer is
    one for a class: MBConvs without a shortcut follow those with one. Unlike parts that follow
    each other in the same way everywhere (attention, MLP) make no stage.

    What does not take anything off the road (all that was alive before is alive after it) is no
    block, unless the next unit follows at once, as in a dense block. Where the parent adds
    the shortcut itself, the block ends after that addition.

    A model without candidates is read as a plain chain of convolutions, else its composite children
    are its blocks.
    """
    road = Road(graph)
    candidates = _inner(model, "", road, _listing(model, road))
    found = _on_road(_resolved(candidates, road), road)
    if not found:
        if chain := _plain_chain(model, road):
            return chain
        children = [Node(path, child) for path, child in _composites(model, "", road)]
        if len(children) > 1 and road.in_sequence([child.path for child in children]):
            found = _on_road(children, road)
    blocks = (Block(x.path, type(x.module).__name__, road.ends[x.path]) for x in found)
    return tuple(sorted(blocks, key=lambda block: block.end))


@dataclass(frozen=True, eq=False)
class Node:
    """A candidate.

    Attributes:
        path: Module path, ``blocks.0.0``.
        module: The module itself.
        inner: Candidates inside it.
        repeated: Whether it stands among others of its class, or alone in its list.
        listed: Whether it stands in a list.
    """

    path: str
    module: nn.Module
    inner: tuple[Node, ...] = ()
    repeated: bool = True
    listed: bool = False


def _matrices(module: nn.Module) -> int:
    """Number of weights with two axes; one that is computed from several counts once."""
    count = 0
    for inner in module.modules():
        own = dict(inner.named_parameters(recurse=False))
        gains = {name for name in own if f"{name.removesuffix('_g')}_v" in own}  # weight norm's
        count += sum(p.ndim >= 2 for name, p in own.items() if name not in gains)
        if isinstance(inner, ParametrizationList):
            count += 1 - sum(p.ndim >= 2 for p in inner.parameters())
    return count


def _composites(
    module: nn.Module, path: str, road: Road, least: int = 2
) -> list[tuple[str, nn.Module]]:
    """The children that run and hold so many weight matrices, in the order in which they end."""
    named = ((f"{path}.{name}".lstrip("."), child) for name, child in module.named_children())
    found = [(at, child) for at, child in named if at in road.spans and _matrices(child) >= least]
    return sorted(found, key=lambda pair: road.spans[pair[0]][1])


def _inner(
    module: nn.Module, path: str, road: Road, listing: Classes, single: bool = False
) -> tuple[Node, ...]:
    """Candidates below a module, each with those below it.

    Classes in `listing` hold repeated units as children of their own. In a list of lists of blocks
    a `single` convolution with its norm is one too: EfficientNetV2's first stage consists of them.
    """
    listed = isinstance(module, LISTS)
    stages = listed and _holds_lists_of_blocks(module)
    inside = _composites(module, path, road, 1 if single or stages else 2)
    if single:
        inside = [(at, c) for at, c in inside if next(c.children(), None) is not None]
    repeats = _repeats(module, inside, road, listing)
    nodes: list[Node] = []
    for at, child in inside:
        below = _inner(child, at, road, listing, stages)
        if at not in repeats:
            nodes.extend(() if listed else below)
        elif below or not stages or _matrices(child) >= 2:
            nodes.append(Node(at, child, below, repeats[at], listed))
    pairs = all(isinstance(x.module, (nn.ModuleList, nn.ModuleDict)) for x in nodes)
    if pairs and _hold_parts(nodes):  # their parent runs what is in them
        return tuple(replace(node, inner=()) for node in nodes)
    return tuple(nodes)


def _holds_lists_of_blocks(module: nn.Module) -> bool:
    """Whether it holds nothing but lists, of which one holds composites."""
    lists = list(module.children())
    inside = (inner for child in lists for inner in child.children())
    return all(isinstance(c, LISTS) for c in lists) and any(_matrices(x) >= 2 for x in inside)


def _repeats(
    module: nn.Module, inside: Sequence[tuple[str, nn.Module]], road: Road, listing: Classes
) -> dict[str, bool]:
    """Which of its composite children are candidates, and whether each repeats among them."""
    kinds: dict[str, object]
    if isinstance(module, LISTS):
        if not road.in_sequence([at for at, _ in inside]):
            return {}
        kinds = {at: type(child) for at, child in inside}
    elif type(module) in listing:
        kinds = {at: _make(child) for at, child in inside if not isinstance(child, LISTS)}
    else:
        return {}
    counts, lists = Counter(kinds.values()), {at for at, c in inside if isinstance(c, LISTS)}
    return {at: counts[kind] > 1 or len(kinds) == 1 or at in lists for at, kind in kinds.items()}


def _listing(model: nn.Module, road: Road) -> Classes:
    """Classes of which a module has several children of one make, each needing the one before."""
    found = set()
    for path, module in model.named_modules():
        if isinstance(module, LISTS) or (path and path not in road.spans):
            continue
        groups: dict[object, list[str]] = {}
        for at, child in _composites(module, path, road):
            if not isinstance(child, LISTS):
                groups.setdefault(_make(child), []).append(at)
        rows = [group for group in groups.values() if len(group) > 1]
        if rows and all(map(road.in_sequence, rows)):
            found.add(type(module))
    return frozenset(found)


def _make(module: nn.Module) -> object:
    """Class and composites in it; they tell a residual around attention from one around an MLP."""
    inside = (inner for inner in module.modules() if inner is not module and _matrices(inner) >= 2)
    return type(module), frozenset(map(type, inside))


def _resolved(nodes: Sequence[Node], road: Road) -> list[Node]:
    """Stages replaced by what is in them."""
    every = list(_all(nodes))
    kinds = {type(node.module) for node in every}
    stages = {k for k in kinds if _are_stages([x for x in every if type(x.module) is k], road)}

    def flat(node: Node) -> Iterator[Node]:
        a_list = isinstance(node.module, LISTS)
        if node.inner and (_share(node, road) if a_list else type(node.module) in stages):
            for inner in _main(node, road):
                yield from flat(inner)
        else:
            yield node

    return [block for node in nodes for block in flat(node)]


def _all(nodes: Sequence[Node]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _all(node.inner)


def _are_stages(nodes: Sequence[Node], road: Road) -> bool:
    """Whether the candidates of one class are stages, see `find_blocks`.

    A class that never repeats itself, as MobileViT's block beside others in its stages or the whole
    network inside a wrapper, also counts where it holds a list of blocks, whatever passes that by.
    """
    full = [replace(node, inner=_main(node, road)) for node in nodes]
    full = [node for node in full if node.inner]
    if _hold_parts(full) or max((len(node.inner) for node in full), default=0) < 2:
        return False
    if not all(_share(node, road) for node in full):
        return False
    alone = len(nodes) == 1 and road.work(nodes[0].path) >= UNLISTED_SHARE * road.all_work
    if not alone and any(node.repeated for node in nodes):
        return all(_all_passes(node, road) for node in full)
    return all(
        sum(inner.listed for inner in node.inner) > 1 or _all_passes(node, road) for node in full
    )


def _hold_parts(nodes: Sequence[Node]) -> bool:
    """Whether the same unlike parts follow each other in all of several: attention, then MLP."""
    makes = {tuple(_make(inner.module) for inner in node.inner) for node in nodes}
    return len(nodes) > 1 and len(makes) == 1 and len(set(*makes)) > 1


def _main(node: Node, road: Road) -> tuple[Node, ...]:
    """Its inner candidates without those on a path beside what passes it; a list has none."""
    if isinstance(node.module, LISTS):
        return node.inner

    def beside(inner: Node) -> bool:
        return any(road.beside(p) for p in parents(inner.path) if len(p) > len(node.path))

    return tuple(inner for inner in node.inner if not beside(inner))


def _share(node: Node, road: Road) -> bool:
    """Whether enough of the work is in the inner ones; where nobody counts any, it is."""
    inner = sum(road.work(candidate.path) for candidate in node.inner)
    least = LEAST_SHARE if any(candidate.listed for candidate in node.inner) else UNLISTED_SHARE
    return inner >= least * road.work(node.path)


def _all_passes(node: Node, road: Road) -> bool:
    paths = [inner.path for inner in node.inner]
    beyond = road.alive[road.ends[node.path]]
    return all(
        tensor in beyond or road.read_by(tensor, paths, road.ends[path])
        for path in paths
        for tensor in road.passing(path)
    )


def _on_road(nodes: Sequence[Node], road: Road) -> list[Node]:
    """Those that take something off the road, or stand in an unbroken row."""

    def joined(a: Node, b: Node) -> bool:
        same = a.path.rpartition(".")[0] == b.path.rpartition(".")[0]
        return same and a.listed and road.ends[a.path] == road.start(b.path)

    row = {x.path for a, b in pairwise(nodes) if joined(a, b) for x in (a, b)}
    return [node for node in nodes if node.path in row or not road.beside(node.path)]


def _plain_chain(model: nn.Module, road: Road) -> tuple[Block, ...]:
    """Each convolution (else linear layer) and pooling of the largest plain Sequential."""
    weights = (*CONVOLUTIONS, nn.Linear)
    lists = [(path, m) for path, m in model.named_modules() if isinstance(m, nn.Sequential)]
    chains = [x for x in lists if sum(isinstance(c, weights) for c in x[1]) >= PLAIN_CHAIN_WEIGHTS]
    if not chains:
        return ()
    path, chain = max(chains, key=lambda found: len(found[1]))
    convolutional = any(isinstance(c, CONVOLUTIONS) for c in chain)
    starts = (*CONVOLUTIONS, *POOLINGS) if convolutional else (nn.Linear,)
    blocks: list[Block] = []
    for name, child in chain.named_children():
        at = f"{path}.{name}".lstrip(".")
        if isinstance(child, (nn.Flatten, nn.Linear)) and not isinstance(child, starts):
            break  # the classifier begins
        if at not in road.spans:
            continue
        if isinstance(child, starts):
            blocks.append(Block(at, type(child).__name__, road.spans[at][1]))
        elif blocks:  # its normalisation and activation
            blocks[-1] = replace(blocks[-1], end=road.spans[at][1])
    return tuple(blocks)
