"""The captured model as plain records: layers in execution order, shapes, FLOPs, bytes; no tensors.

A `ModelGraph` is what the torch arm hands to everything else. It needs neither torch nor the
model, goes into every profile file, and holds for every batch size.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

from dscwb.units import DTYPE_BYTES, Encoding, Told, format_flops


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of the model, for every batch size at once.

    Attributes:
        name: Unique name inside the graph.
        shape: Shape at batch size 1.
        batch_axes: The axes whose length is ``batch_size * shape[axis]``: one as a rule, none where
            the shape does not depend on the batch size, two for scores between samples.
        dtype: torch's name of the element type without the ``torch.`` in front.
    """

    name: str
    shape: tuple[int, ...]
    batch_axes: tuple[int, ...]
    dtype: str

    def elements(self, batch_size: int = 1) -> int:
        """Number of elements at this batch size."""
        elements: int = math.prod(self.shape) * batch_size ** len(self.batch_axes)
        return elements

    def nbytes(self, batch_size: int = 1, encoding: Encoding | None = None) -> float:
        """Bytes at this batch size: in a wire encoding where it can hold them, or in own dtype."""
        size = None if encoding is None else encoding.bytes_of(self.dtype)
        if size is None:
            size = DTYPE_BYTES[self.dtype]
        return round(self.elements(batch_size) * float(size), 6)  # a tenth of 3 is 0.3


@dataclass(frozen=True)
class Layer:
    """One operation of the model.

    Attributes:
        op: The operation, ``conv2d`` or ``batch_norm``.
        module: Path of the module it runs in, ``blocks.0.0.conv_dw``; empty for the model itself.
        inputs: Names of the tensors that it reads, weights left out.
        outputs: The tensors that it makes.
        view_of: Name of the tensor whose memory the outputs share; None for a result of its own.
        writes: Name of the tensor whose memory it changes for later layers that read this memory by
            another name: a canvas that slices are written into. None where only its own output is
            read afterwards (an ordinary ReLU in place).
        constant: True where the outputs depend on weights and shapes only (and inputs that are not
            sent), never on the input.
        flops: Floating-point operations for one sample, a multiply-add counted as two; 0 for what
            goes over its elements once (activations, norms, pooling). None where nobody knows: a
            custom operation, a matrix inverse.
        weight_bytes: Bytes of weights and buffers that it reads, whatever the batch size.
        read_bytes: Bytes of activations that it reads for one sample.
        written_bytes: Bytes of activations that it writes for one sample; 0 for a view.
    """

    op: str
    module: str
    inputs: tuple[str, ...]
    outputs: tuple[TensorSpec, ...]
    view_of: str | None = None
    writes: str | None = None
    constant: bool = False
    flops: int | None = 0
    weight_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0

    @property
    def name(self) -> str:
        """Name of its first output, unique inside the graph."""
        return self.outputs[0].name


@dataclass(frozen=True)
class Block:
    """One of the model's own repeated units, the paper's "layer".

    Attributes:
        name: Module path, ``blocks.2.1``.
        kind: Class name, ``InvertedResidual``.
        end: Number of layers from the model's start to the block's end: the cut after the block.
    """

    name: str
    kind: str
    end: int


@dataclass(frozen=True, repr=False)
class ModelGraph(Told):
    """A model as its layers in execution order.

    Attributes:
        model: timm's name or the class name of the user's module.
        inputs: The model's input tensors.
        layers: All operations in the order in which they run.
        outputs: Names of the tensors that the model returns.
        blocks: The repeated units, ordered by their ends; empty where none was found.
        narrow: Places elsewhere that send less than any before, see `narrow_places`; empty in files
            written before there were any. Candidates beside the blocks, no bottlenecks of the
            paper's table and no part of the fingerprint.
        resident: Names of inputs and outputs that are state, such as a key-value cache: they lie
            where their layer runs and are not sent.
    """

    model: str
    inputs: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    blocks: tuple[Block, ...] = ()
    narrow: tuple[Block, ...] = ()
    resident: tuple[str, ...] = ()

    def summary(self) -> dict[str, str]:
        """What it is, in a few words each."""
        inputs = [f"{x.name} {x.shape[1:]} {x.dtype}" for x in self.inputs]
        more = [f"{len(inputs) - 3} more"] if len(inputs) > 3 else []
        row = f", {self.blocks[0].name} to {self.blocks[-1].name}" if self.blocks else ""
        return {
            "model": self.model,
            "inputs": ", ".join(inputs[:3] + more),
            "layers": str(len(self.layers)),
            "blocks": f"{len(self.blocks)}{row}",
            "FLOPs for one sample": format_flops(self.flops),
        }

    def label(self) -> str:
        """The model and the size of its input, for captions."""
        return f"{self.model} at {'×'.join(str(n) for n in self.inputs[0].shape[1:])}"

    @property
    def held(self) -> frozenset[str]:
        """Inputs that are not sent: constants without a batch axis, which both sides hold, and the
        resident ones, which lie where their layer runs.
        """
        return frozenset(s.name for s in self.inputs if not s.batch_axes or s.name in self.resident)

    @property
    def sent(self) -> list[TensorSpec]:
        """The inputs that full offloading sends: those that are not `held`."""
        held = self.held
        return [spec for spec in self.inputs if spec.name not in held]

    @property
    def input_elements(self) -> int:
        """Elements of one input sample, |x| of the paper; what is not sent is left out."""
        return sum(spec.elements() for spec in self.sent)

    @property
    def flops(self) -> int | None:
        """Floating-point operations of the whole model for one sample; None: see `Layer.flops`."""
        return self.flops_between(0, len(self.layers))

    def flops_between(self, start: int, end: int) -> int | None:
        """Operations for one sample between two cuts; None: see `Layer.flops`."""
        flops = [layer.flops for layer in self.layers[start:end]]
        known = [one for one in flops if one is not None]
        return sum(known) if len(known) == len(flops) else None

    def tensors(self) -> Iterator[TensorSpec]:
        """All tensors: the inputs, then each layer's outputs."""
        yield from self.inputs
        for layer in self.layers:
            yield from layer.outputs

    def fingerprint(self) -> str:
        """Hash of what two captures of one model share whatever torch made them.

        Model name, input and output shapes, FLOPs and every block's end are in it; operator
        spellings, which differ between torch versions, are not.
        """
        by_name = {spec.name: spec for spec in self.tensors()}
        parts = [self.model, *(f"{s.shape}{s.dtype}" for s in self.inputs)]
        parts += [f"{by_name[name].shape}" for name in self.outputs] + [f"{self.flops}"]
        parts += self.resident
        for block in self.blocks:
            parts.append(f"{block.name}:{self.flops_between(0, block.end)}")
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]
