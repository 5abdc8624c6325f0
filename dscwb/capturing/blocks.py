"""A model's own repeated units along its main road, from its module tree and its captured graph.

The paper's "layer" is one MBConv block, one transformer block, one residual block; in a plain
chain such as VGG's it is each convolution and each pooling of the feature extractor.

The tree says what repeats, the graph what lies on the road: a squeeze-and-excite path, a weight
made of other weights, one of several branches, a part inside a shortcut is no block.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from dscwb.cuts import all_cuts
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
    road, root = Road(graph), Node("", model)
    found = _on_road(_resolved(_inner(root, road, _listing(model, road)), road), road)
    if not found:
        if chain := _plain_chain(model, road):
            return chain
        children = _composites(root, road)
        if len(children) > 1 and road.in_sequence(children):
            found = _on_road(children, road)
    blocks = (Block(x.path, type(x.module).__name__, road.ends[x.path]) for x in found)
    return tuple(sorted(blocks, key=lambda block: block.end))


@dataclass(frozen=True, eq=False)
class Node:
    """A module in the tree; `inner` are the candidates inside, `listed` says that it is in a list.

    It is `repeated` where it stands among others of its class, or alone in its list.
    """

    path: str
    module: nn.Module
    inner: tuple[Node, ...] = ()
    repeated: bool = True
    listed: bool = False


class Road:
    """What the graph knows of module paths; layers are counted from 1, cuts as in `all_cuts`."""

    def __init__(self, graph: ModelGraph) -> None:
        """Walk through the layers once."""
        owner: dict[str, str] = {}  # of a view; the tensor itself where it is none
        # First and last layer of a path, without what depends on weights only.
        self.spans: dict[str, tuple[int, int]] = {}
        self.born = {spec.name: 0 for spec in graph.sent}  # the layer that makes a tensor
        self.reads: dict[str, list[int]] = defaultdict(list)  # those that read it or a view of it
        self.inside = [list[str](), *(parents(layer.module) for layer in graph.layers)]
        # FLOPs of the layers before each cut; unknown ones count as none.
        self.work = list(accumulate((layer.flops or 0 for layer in graph.layers), initial=0))
        self._passed = [(set[str](), set[str]())]  # tensors read and made by each layer
        for k, layer in enumerate(graph.layers, start=1):
            for spec in layer.outputs:
                made = layer.view_of or spec.name
                owner[spec.name] = owner.get(made, made)
                self.born.setdefault(owner[spec.name], k)
            read = [owner.get(name, name) for name in layer.inputs]
            for name in read:
                self.reads[name].append(k)
            self._passed.append((set(read), {owner[spec.name] for spec in layer.outputs}))
            for path in () if layer.constant else self.inside[k]:
                self.spans[path] = self.spans.get(path, (k, k))[0], k
        cuts = all_cuts(graph, "op")
        # Tensors that cross each cut, a view's owner for the view.
        self.alive = [frozenset(owner.get(s.name, s.name) for s in cut.frontier) for cut in cuts]
        sizes = [(len(self.alive[cut.index]), cut.elements()) for cut in cuts]
        # The cut after a module, and after its parent's own operations that close a shortcut.
        self.ends = {path: last for path, (_, last) in self.spans.items()}
        for path, last in self.ends.items():
            above = set(parents(path)[1:])
            for k in range(last + 1, len(graph.layers)):
                if graph.layers[k - 1].module not in above:
                    break
                if sizes[k][0] < sizes[last][0] and sizes[k][1] < sizes[last][1]:
                    self.ends[path] = k
                    break

    def work_of(self, path: str) -> int:
        """FLOPs from a module's first layer to its last."""
        first, last = self.spans[path]
        return self.work[last] - self.work[first - 1]

    def beside(self, path: str) -> bool:
        """Whether all that was alive before a module is alive after it."""
        return self.alive[self.spans[path][0] - 1] <= self.alive[self.ends[path]]

    def in_sequence(self, nodes: Sequence[Node]) -> bool:
        """Whether each module needs what the one before it made."""
        return all(self._needs(later.path, earlier.path) for earlier, later in pairwise(nodes))

    def _needs(self, later: str, earlier: str) -> bool:
        first, last = self.spans[earlier]
        reached = set[str]()
        for k in range(first, self.spans[later][1] + 1):
            read, made = self._passed[k]
            if (k <= last and earlier in self.inside[k]) or not reached.isdisjoint(read):
                if k > last and later in self.inside[k]:
                    return True
                reached |= made
        return False


def parents(path: str) -> list[str]:
    """A module path and those above it, the innermost first, the model itself last."""
    parts = path.split(".") if path else []
    return [".".join(parts[:n]) for n in range(len(parts), -1, -1)]


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


def _make(module: nn.Module) -> object:
    """Class and composites in it; they tell a residual around attention from one around an MLP."""
    inside = (inner for inner in module.modules() if inner is not module and _matrices(inner) >= 2)
    return type(module), frozenset(map(type, inside))


def _composites(node: Node, road: Road, least: int = 2) -> list[Node]:
    """The children that run and hold so many weight matrices, in the order in which they end."""
    children = node.module.named_children()
    nodes = (Node(f"{node.path}.{name}".lstrip("."), child) for name, child in children)
    found = [x for x in nodes if x.path in road.spans and _matrices(x.module) >= least]
    return sorted(found, key=lambda x: road.spans[x.path][1])


def _listing(model: nn.Module, road: Road) -> set[type[nn.Module]]:
    """Classes of which a module has several children of one make, each needing the one before."""
    found = set()
    for path, module in model.named_modules():
        if path in road.spans and not isinstance(module, LISTS):
            makes: dict[object, list[Node]] = defaultdict(list)
            for child in _composites(Node(path, module), road):
                if not isinstance(child.module, LISTS):
                    makes[_make(child.module)].append(child)
            rows = [row for row in makes.values() if len(row) > 1]
            if rows and all(map(road.in_sequence, rows)):
                found.add(type(module))
    return found


def _inner(
    node: Node, road: Road, listing: set[type[nn.Module]], single: bool = False
) -> tuple[Node, ...]:
    """Candidates below a module, each with those below it.

    Classes in `listing` hold repeated units as children of their own. In a list of lists of blocks
    a `single` convolution with its norm is one too: EfficientNetV2's first stage consists of them.
    """
    children, listed = list(node.module.children()), isinstance(node.module, LISTS)
    stages = listed and all(isinstance(child, LISTS) for child in children)
    stages = stages and any(_matrices(x) >= 2 for child in children for x in child.children())
    inside = _composites(node, road, 1 if single or stages else 2)
    if single:
        inside = [x for x in inside if next(x.module.children(), None) is not None]
    kinds: dict[Node, object] = {}
    if listed and road.in_sequence(inside):
        kinds = {x: type(x.module) for x in inside}
    elif not listed and type(node.module) in listing:
        kinds = {x: _make(x.module) for x in inside if not isinstance(x.module, LISTS)}
    counts = Counter(kinds.values())
    nodes: list[Node] = []
    for x in inside:
        below = _inner(x, road, listing, stages)
        if x not in kinds:
            nodes += () if listed else below
        elif below or not stages or _matrices(x.module) >= 2:
            among = counts[kinds[x]] > 1 or len(kinds) == 1 or isinstance(x.module, LISTS)
            nodes.append(replace(x, inner=below, repeated=among, listed=listed))
    pairs = all(isinstance(x.module, (nn.ModuleList, nn.ModuleDict)) for x in nodes)
    if pairs and _hold_parts(nodes):  # their parent runs what is in them
        return tuple(replace(x, inner=()) for x in nodes)
    return tuple(nodes)


def _hold_parts(nodes: Sequence[Node]) -> bool:
    """Whether the same unlike parts follow each other in all of several: attention, then MLP."""
    makes = {tuple(_make(inner.module) for inner in node.inner) for node in nodes}
    return len(nodes) > 1 and len(makes) == 1 and len(set(*makes)) > 1


def _resolved(nodes: Sequence[Node], road: Road) -> list[Node]:
    """Stages replaced by what is in them."""
    every: dict[type[nn.Module], list[Node]] = defaultdict(list)

    def note(node: Node) -> None:
        every[type(node.module)].append(node)
        for inner in node.inner:
            note(inner)

    def flat(node: Node) -> Iterator[Node]:
        a_list = isinstance(node.module, LISTS)
        if node.inner and (_share(node, road) if a_list else stages[type(node.module)]):
            for inner in _main(node, road):
                yield from flat(inner)
        else:
            yield node

    for node in nodes:
        note(node)
    stages = {kind: _are_stages(same, road) for kind, same in every.items()}
    return [block for node in nodes for block in flat(node)]


def _are_stages(nodes: Sequence[Node], road: Road) -> bool:
    """Whether the candidates of one class are stages, see `find_blocks`.

    A class that never repeats itself, as MobileViT's block beside others in its stages or the whole
    network inside a wrapper, also counts where it holds a list of blocks, whatever passes that by.
    """
    full = [replace(node, inner=main) for node in nodes if (main := _main(node, road))]
    if _hold_parts(full) or max((len(node.inner) for node in full), default=0) < 2:
        return False
    alone = len(nodes) == 1 and road.work_of(nodes[0].path) >= UNLISTED_SHARE * road.work[-1]
    unlike = alone or not any(node.repeated for node in nodes)

    def passes(node: Node) -> bool:
        return (unlike and sum(x.listed for x in node.inner) > 1) or _all_passes(node, road)

    return all(_share(node, road) and passes(node) for node in full)


def _main(node: Node, road: Road) -> tuple[Node, ...]:
    """Its inner candidates without those on a path beside what passes it; a list has none."""

    def beside(inner: Node) -> bool:
        return any(road.beside(p) for p in parents(inner.path) if len(p) > len(node.path))

    every = isinstance(node.module, LISTS)
    return tuple(inner for inner in node.inner if every or not beside(inner))


def _share(node: Node, road: Road) -> bool:
    """Whether enough of the work is in the inner ones; where nobody counts any, it is."""
    inner = sum(road.work_of(candidate.path) for candidate in node.inner)
    least = LEAST_SHARE if any(candidate.listed for candidate in node.inner) else UNLISTED_SHARE
    return inner >= least * road.work_of(node.path)


def _all_passes(node: Node, road: Road) -> bool:
    """Whether what passes an inner one also passes the node, or only inner ones read it later."""
    paths, beyond = {inner.path for inner in node.inner}, road.alive[road.ends[node.path]]
    return not any(
        k > road.ends[path] and paths.isdisjoint(road.inside[k])
        for path in paths
        for tensor in road.alive[road.ends[path]] - beyond
        if road.born.get(tensor, 0) < road.spans[path][0]
        for k in road.reads[tensor]
    )


def _on_road(nodes: Sequence[Node], road: Road) -> list[Node]:
    """Those that take something off the road, or stand in an unbroken row."""

    def joined(a: Node, b: Node) -> bool:
        same = parents(a.path)[1] == parents(b.path)[1]
        return same and a.listed and road.ends[a.path] == road.spans[b.path][0] - 1

    row = {x for pair in pairwise(nodes) if joined(*pair) for x in pair}
    return [node for node in nodes if node in row or not road.beside(node.path)]


def _plain_chain(model: nn.Module, road: Road) -> tuple[Block, ...]:
    """Each convolution (else linear layer) and pooling of the largest plain Sequential."""
    weights = (*CONVOLUTIONS, nn.Linear)
    lists = [(path, m) for path, m in model.named_modules() if isinstance(m, nn.Sequential)]
    chains = [x for x in lists if sum(isinstance(c, weights) for c in x[1]) >= PLAIN_CHAIN_WEIGHTS]
    path, chain = max(chains, key=lambda found: len(found[1]), default=("", nn.Sequential()))
    convolutional = any(isinstance(c, CONVOLUTIONS) for c in chain)
    starts = (*CONVOLUTIONS, *POOLINGS) if convolutional else (nn.Linear,)
    blocks: list[Block] = []
    for name, child in chain.named_children():
        at = f"{path}.{name}".lstrip(".")
        if isinstance(child, (nn.Flatten, nn.Linear)) and not isinstance(child, starts):
            break  # the classifier begins
        if at in road.spans:
            if isinstance(child, starts):
                blocks.append(Block(at, type(child).__name__, road.spans[at][1]))
            elif blocks:  # its normalisation and activation
                blocks[-1] = replace(blocks[-1], end=road.spans[at][1])
    return tuple(blocks)
