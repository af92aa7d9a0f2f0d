"""Recorded passes: one CUDA graph launches a small pass, because its kernels end faster than they can be launched."""

import functools
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .layout import Layout
from .memory import KeyValueMemory, MemoryLayout
from .shortage import is_out_of_memory
from .wanted import WantedRows, distinct


logger = logging.getLogger("lm_eval.mdlm")
MOST_TOKENS = 2048
"""Longest pass that is recorded; the kernels of a longer one hide their launches."""
TOKEN_STEP = 16
"""Recorded passes have a multiple of this many tokens."""
LEAST_ROWS = 64
"""Fewest states that a recorded pass computes; more are rounded up to a power of two, or to all tokens."""
MOST_GRAPHS = 128
"""Recordings kept; the one unused for longest goes first. They share one pool of memory and one tensor of results."""
REST = 256
"""Passes that run unrecorded after a lack of memory, before recording is tried again."""


Recorder = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]


@runtime_checkable
class RecordableLayers(Protocol):
    """Layers that never look at the numbers in a layout, which are not there yet when they are recorded."""

    def __call__(
        self, token_ids: Int[Tensor, " T"], layout: Layout, wanted: Int[Tensor, " R"]
    ) -> Float[Tensor, "R D"]: ...

    def run(self, token_ids: Int[Tensor, " T"], layout: Layout, rows: WantedRows) -> Float[Tensor, "N D"]: ...

    def padded_rows(self, num_rows: int) -> int: ...

    def table_up_to(self, longest: int) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recorded pass with the memory that it reads and writes."""

    replay: Callable[[], None]
    inputs: Int[Tensor, " _"]
    """Token ids, position ids, starts of canvases, wanted tokens and their starts, one behind the other, to be filled
    in with one copy; then, of a block-causal pass, how many keys each token sees; and places and starts in the memory,
    where there is one."""
    states: Float[Tensor, "N D"]
    table: tuple[Tensor, Tensor]
    """Rotations that the pass reads; kept, because a longer table replaces the layers' own."""


@dataclass(frozen=True, kw_only=True)
class PassShape:
    """Everything that a recording has fixed; passes that agree in it share one."""

    num_tokens: int
    num_rows: int
    """Tokens whose states are computed."""
    slots: int
    """Canvases, some of them without tokens."""
    longest: int
    longest_canvas: int
    memory: KeyValueMemory | None
    version: int
    """Of the memory, whose tensors are others after a change of its size."""
    is_limited: bool
    """Whether the layout says how many keys each token sees."""


@dataclass(frozen=True)
class CudaRecorder:
    """Records what a function launches, for one device; all recordings share a pool of memory."""

    pool: Any
    stream: torch.cuda.Stream
    """Of the device; the stream that torch would take may be another device's."""

    @classmethod
    def on(cls, device: torch.device) -> "CudaRecorder":
        """One with a pool of its own."""
        return cls(torch.cuda.graph_pool_handle(), torch.cuda.Stream(device))  # type: ignore[no-untyped-call]

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

    def __init__(
        self, layers: RecordableLayers, device: torch.device, new_recorder: Callable[[], Recorder] | None = None
    ) -> None:
        """Take over `layers`; `new_recorder` gives a way to record them, as CUDA graphs if left out."""
        self._layers, self._device = layers, device
        self._on_device = torch.empty(0, device=device)
        self._new_recorder = new_recorder or functools.partial(CudaRecorder.on, device)
        self._record_launches = self._new_recorder()
        self._recordings: OrderedDict[PassShape, Recording] = OrderedDict()
        self._states: Tensor | None = None
        self._resting = 0

    def padded(self, num_tokens: int) -> int:
        """Tokens of the pass that has room for `num_tokens`."""
        rounded = -(-num_tokens // TOKEN_STEP) * TOKEN_STEP
        return rounded if rounded <= MOST_TOKENS else num_tokens

    def give_up(self) -> bool:
        """Free all recordings, and record nothing for a while; whether there was anything to free."""
        had_any = bool(self._recordings) or self._states is not None
        self._recordings.clear()
        # Another pool: the old one's memory is given back once nothing can be recorded into it any more.
        self._states, self._record_launches = None, self._new_recorder()
        self._resting = REST
        return had_any

    def __call__(self, token_ids: Int[Tensor, " T"], layout: Layout, wanted: Int[Tensor, " R"]) -> Float[Tensor, "R D"]:
        """Normed states of the wanted tokens; inputs are on the host."""
        if len(token_ids) > MOST_TOKENS:
            return self._layers(token_ids, layout, wanted)
        if self._resting:
            self._resting -= 1
            return self._layers(token_ids, layout, wanted)
        tokens, places = distinct(wanted)
        rows = WantedRows.of(tokens, layout, self._num_rows(len(tokens), len(token_ids)))
        with torch.cuda.device_of(self._on_device):  # type: ignore[no-untyped-call]
            recording = self._recording_if_it_fits(_shape_of(layout, rows))
            if recording is not None:
                # Both copies ahead of the pass: one that waits would wait for all of it.
                recording.inputs.copy_(torch.cat(_inputs(token_ids, layout, rows)), non_blocking=True)
                places = places.to(self._device, non_blocking=True)
                recording.replay()
                return recording.states[places]
        self.give_up()  # the pass itself, which needs less, may still fit
        logger.warning("no memory for recorded passes: the next %d run unrecorded; results do not change.", REST)
        return self._layers(token_ids, layout, wanted)

    def _num_rows(self, num_wanted: int, num_tokens: int) -> int:
        """Few different numbers, so that few recordings serve all; never more than there are tokens."""
        least = max(LEAST_ROWS, self._layers.padded_rows(num_wanted))
        return min(num_tokens, 1 << (least - 1).bit_length())

    def _recording_if_it_fits(self, shape: PassShape) -> Recording | None:
        try:
            return self._recording(shape)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _recording(self, shape: PassShape) -> Recording:
        if shape not in self._recordings:
            self._drop_stale()
            while len(self._recordings) >= MOST_GRAPHS:
                self._recordings.popitem(last=False)
            self._recordings[shape] = self._record(shape)
        self._recordings.move_to_end(shape)
        return self._recordings[shape]

    def _drop_stale(self) -> None:
        """Recordings that read a memory that has moved since."""
        stale = [old for old in self._recordings if old.memory is not None and old.memory.version != old.version]
        for old in stale:
            del self._recordings[old]
        if stale and not self._recordings:
            self._record_launches = self._new_recorder()  # torch ends a pool with its last recording

    def _record(self, shape: PassShape) -> Recording:
        tokens, boundaries = shape.num_tokens, shape.slots + 1
        sizes = [tokens, tokens, boundaries, shape.num_rows, boundaries]
        # All zeros is a pass whose canvases are empty.
        inputs = torch.zeros(sum(sizes), dtype=torch.long, device=self._device)
        if shape.is_limited:
            inputs = torch.cat([inputs, inputs.new_zeros(tokens)])
            sizes.append(tokens)
        if shape.memory is not None:
            padding = shape.memory.capacity - 1  # no canvas's own
            inputs = torch.cat([inputs, inputs.new_full((tokens,), padding), inputs.new_zeros(boundaries)])
            sizes += [tokens, boundaries]

        def run() -> Tensor:
            token_ids, position_ids, starts, wanted, row_starts, *more = torch.split(inputs, sizes)
            visible = more.pop(0).int() if shape.is_limited else None
            layout = Layout(
                lengths=(),
                longest=shape.longest,
                longest_canvas=shape.longest_canvas,
                starts=starts.int(),
                position_ids=position_ids,
                memory=None if shape.memory is None else _memory_layout(shape, *more),
                visible=visible,
            )
            rows = WantedRows(tokens=wanted, starts=row_starts.int(), longest=shape.num_rows)
            states = self._layers.run(token_ids, layout, rows)
            return self._shared(states).copy_(states)

        replay, states = self._record_launches(run)
        table = self._layers.table_up_to(shape.longest_canvas)
        return Recording(replay=replay, inputs=inputs, states=states, table=table)

    def _shared(self, states: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """Where every recording leaves its result, so that none keeps one of its own."""
        if self._states is None:
            self._states = states.new_empty(MOST_TOKENS, states.shape[1])
        return self._states[: len(states)]


def _shape_of(layout: Layout, rows: WantedRows) -> PassShape:
    memory = None if layout.memory is None else layout.memory.memory
    return PassShape(
        num_tokens=len(layout.position_ids),
        num_rows=len(rows.tokens),
        slots=_slots(layout),
        longest=_rounded(layout.longest),
        longest_canvas=_rounded(layout.longest_canvas),
        memory=memory,
        version=0 if memory is None else memory.version,
        is_limited=layout.visible is not None,
    )


def _inputs(token_ids: Int[Tensor, " T"], layout: Layout, rows: WantedRows) -> list[Int[Tensor, " _"]]:
    slots = _slots(layout)
    inputs = [token_ids, layout.position_ids, *_filled(layout.starts, slots), rows.tokens, *_filled(rows.starts, slots)]
    if layout.visible is not None:
        inputs.append(layout.visible)
    if layout.memory is not None:
        inputs += [layout.memory.places, *_filled(layout.memory.starts, slots)]
    return inputs


def _slots(layout: Layout) -> int:
    return 1 << (len(layout.lengths) - 1).bit_length()


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
