"""Recorded passes: one CUDA graph launches a small pass, because its kernels end faster than they can be launched."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .layout import Layout
from .memory import KeyValueMemory, MemoryLayout


MOST_TOKENS = 2048
"""Longest pass that is recorded; the kernels of a longer one hide their launches."""
TOKEN_STEP = 16
"""Recorded passes have a multiple of this many tokens."""
MOST_GRAPHS = 128
"""Recordings kept; the one unused for longest goes first. They share one pool of memory."""


Recorder = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]


@runtime_checkable
class RecordableLayers(Protocol):
    """Layers that never look at the numbers in a layout, which are not there yet when they are recorded."""

    def __call__(self, token_ids: Int[Tensor, " T"], layout: Layout) -> Float[Tensor, "T D"]: ...

    def table_up_to(self, longest: int) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recorded pass with the memory that it reads and writes."""

    replay: Callable[[], None]
    inputs: Int[Tensor, " N"]
    """Token ids, position ids and starts of canvases, one behind the other, to be filled in with one copy; and places
    and starts in the memory, where there is one."""
    states: Float[Tensor, "T D"]
    table: tuple[Tensor, Tensor]
    """Rotations that the pass reads; kept, because a longer table replaces the layers' own."""


@dataclass(frozen=True, kw_only=True)
class PassShape:
    """Everything that a recording has fixed; passes that agree in it share one."""

    num_tokens: int
    slots: int
    """Canvases, some of them without tokens."""
    longest: int
    longest_canvas: int
    memory: KeyValueMemory | None
    capacity: int
    """Positions of the memory, which is another one after it has grown."""


@dataclass(frozen=True)
class CudaRecorder:
    """Records what a function launches, for one device; all recordings share a pool of memory."""

    pool: Any
    stream: torch.cuda.Stream
    """Of the device; the stream that torch would take may be another device's."""

    def __call__(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """A function that launches the same again, and the tensor that it writes."""
        run()  # compiles and loads every kernel, which cannot be done while recording
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            written = run()
        return graph.replay, written


class GraphedLayers:
    """Other layers with small passes recorded; which kernels run, and on what, is the same."""

    name = "fused layers, recorded passes"

    def __init__(self, layers: RecordableLayers, device: torch.device, record: Recorder | None = None) -> None:
        """Take over `layers`; `record` is how to record them, as CUDA graphs if left out."""
        self._layers, self._device = layers, device
        self._on_device = torch.empty(0, device=device)
        self._record_launches = record or CudaRecorder(torch.cuda.graph_pool_handle(), torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
        self._recordings: OrderedDict[PassShape, Recording] = OrderedDict()

    def padded(self, num_tokens: int) -> int:
        """Tokens of the pass that has room for `num_tokens`."""
        rounded = -(-num_tokens // TOKEN_STEP) * TOKEN_STEP
        return rounded if rounded <= MOST_TOKENS else num_tokens

    def __call__(self, token_ids: Int[Tensor, " T"], layout: Layout) -> Float[Tensor, "T D"]:
        """Normed states of all tokens, to be read before the next call."""
        if len(token_ids) > MOST_TOKENS:
            return self._layers(token_ids, layout)
        slots = 1 << (len(layout.lengths) - 1).bit_length()
        memory = layout.memory
        shape = PassShape(
            num_tokens=len(token_ids),
            slots=slots,
            longest=_rounded(layout.longest),
            longest_canvas=_rounded(layout.longest_canvas),
            memory=None if memory is None else memory.memory,
            capacity=0 if memory is None else memory.memory.capacity,
        )
        inputs = [token_ids, layout.position_ids, *_filled(layout.starts, slots)]
        if memory is not None:
            inputs += [memory.places, *_filled(memory.starts, slots)]
        with torch.cuda.device_of(self._on_device):  # type: ignore[no-untyped-call]
            recording = self._recording(shape)
            recording.inputs.copy_(torch.cat(inputs), non_blocking=True)
            recording.replay()
        return recording.states

    def _recording(self, shape: PassShape) -> Recording:
        if shape not in self._recordings:
            for old in list(self._recordings):
                if old.memory is not None and old.memory.capacity != old.capacity:
                    del self._recordings[old]  # it reads a memory that has moved since
            while len(self._recordings) >= MOST_GRAPHS:
                self._recordings.popitem(last=False)
            self._recordings[shape] = self._record(shape)
        self._recordings.move_to_end(shape)
        return self._recordings[shape]

    def _record(self, shape: PassShape) -> Recording:
        tokens, boundaries = shape.num_tokens, shape.slots + 1
        sizes = [tokens, tokens, boundaries, *([tokens, boundaries] if shape.memory is not None else [])]
        # All zeros is a pass whose canvases are empty.
        inputs = torch.zeros(sum(sizes), dtype=torch.long, device=self._device)
        if shape.memory is not None:
            inputs[-tokens - boundaries : -boundaries] = shape.capacity - 1  # the position for padding: no canvas's own

        def run() -> Tensor:
            token_ids, position_ids, starts, *of_memory = torch.split(inputs, sizes)
            layout = Layout(
                lengths=(),
                longest=shape.longest,
                longest_canvas=shape.longest_canvas,
                starts=starts.int(),
                position_ids=position_ids,
                memory=None if shape.memory is None else _memory_layout(shape, *of_memory),
            )
            return self._layers(token_ids, layout)

        replay, states = self._record_launches(run)
        table = self._layers.table_up_to(shape.longest_canvas)
        return Recording(replay=replay, inputs=inputs, states=states, table=table)


def _memory_layout(shape: PassShape, places: Int[Tensor, " T"], starts: Int[Tensor, " boundaries"]) -> MemoryLayout:
    assert shape.memory is not None
    return MemoryLayout(
        memory=shape.memory, places=places, lengths=(), starts=starts.int(), longest=shape.longest_canvas
    )


def _rounded(length: int) -> int:
    return max(128, 1 << (length - 1).bit_length())


def _filled(starts: Int[Tensor, " _"], slots: int) -> tuple[Int[Tensor, " _"], Int[Tensor, " _"]]:
    """Starts of canvases, and of more canvases at the very end that have no tokens."""
    return starts, starts[-1:].expand(slots + 1 - len(starts))
