"""The memory of keys and values: slots never overlap, and its size follows them however little room there is."""

import random

import pytest
import torch

from lm_eval_mdlm.backbones.memory import KeyValueMemory, bytes_per_position
from lm_eval_mdlm.backbones.shortage import is_out_of_memory


SHAPE = {"num_layers": 3, "num_heads": 1, "head_width": 4, "dtype": torch.float32}


def new_memory() -> KeyValueMemory:
    return KeyValueMemory(**SHAPE, device=torch.device("cpu"))


class Room:
    """Makes tensors fail to be allocated once those of the memory would hold more positions than there is room for."""

    def __init__(self, memory: KeyValueMemory, monkeypatch) -> None:
        self.memory, self.positions, self.most = memory, float("inf"), 0
        for name in ("new_zeros", "new_empty"):
            monkeypatch.setattr(torch.Tensor, name, self.checked(getattr(torch.Tensor, name)))

    def checked(self, allocate):
        def new(tensor, *size):
            used = sum(len(part) for part in self.memory._layers) + size[0]
            if used > 2 * SHAPE["num_layers"] * self.positions:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
            self.most = max(self.most, used)
            return allocate(tensor, *size)

        return new


def fill(memory: KeyValueMemory, slot, number: float) -> None:
    places = torch.arange(slot.start, slot.start + slot.length)
    for layer in range(SHAPE["num_layers"]):
        value = torch.full((slot.length, 1, 4), number + layer)
        memory.write(layer, places, value, -value)


def holds(memory: KeyValueMemory, slot, number: float) -> bool:
    inside = slice(slot.start, slot.start + slot.length)
    parts = [memory.of_layer(layer) for layer in range(SHAPE["num_layers"])]
    return all(
        (keys[inside] == number + i).all() and (values[inside] == -number - i).all()
        for i, (keys, values) in enumerate(parts)
    )


def test_the_last_position_is_never_part_of_a_slot():
    memory = new_memory()
    held = memory.reserve(10)
    room = memory.capacity - held.length
    for length in (room - 1, room, room + 1):
        slot = memory.reserve(length)
        assert slot.start + slot.length < memory.capacity
        del slot


def test_many_reserves_grow_the_memory_a_few_times_only():
    memory, versions, slots = new_memory(), set(), []
    for _ in range(200):
        slots.append(memory.reserve(10))
        versions.add(memory.version)
    assert len(versions) <= 20


def test_where_there_is_no_room_for_more_it_grows_by_exactly_what_is_needed(monkeypatch):
    memory = new_memory()
    room = Room(memory, monkeypatch)
    first = memory.reserve(10)
    fill(memory, first, 3.0)
    room.positions = 40  # with the copy of a layer: 31 positions fit, half as many again do not
    second = memory.reserve(20)
    assert memory.capacity == 31 and holds(memory, first, 3.0)
    fill(memory, second, 5.0)
    with pytest.raises(RuntimeError) as caught:
        memory.reserve(30)
    assert is_out_of_memory(caught.value)
    assert holds(memory, first, 3.0) and holds(memory, second, 5.0)
    room.positions = 200
    third = memory.reserve(30)
    fill(memory, third, 9.0)
    assert holds(memory, first, 3.0) and holds(memory, second, 5.0) and holds(memory, third, 9.0)


def test_a_change_of_size_needs_room_for_one_layer_beside_the_memory(monkeypatch):
    memory = new_memory()
    memory._growth = 1.0
    room = Room(memory, monkeypatch)
    slots = [memory.reserve(100), memory.reserve(100)]
    assert memory.capacity == 201 and room.most <= 6 * 201 + 201
    del slots


@pytest.mark.parametrize("fails_at", range(7))
def test_a_growth_that_ends_half_way_loses_nothing_and_can_be_tried_again(monkeypatch, fails_at):
    memory = new_memory()
    memory._growth = 1.0
    slot = memory.reserve(10)
    fill(memory, slot, 7.0)
    allocate, calls = torch.Tensor.new_zeros, []

    def short(tensor, *size):
        calls.append(size)
        if len(calls) > fails_at:
            raise torch.OutOfMemoryError("no room")
        return allocate(tensor, *size)

    version = memory.version
    with monkeypatch.context() as patched:
        patched.setattr(torch.Tensor, "new_zeros", short)
        if fails_at < 6:
            with pytest.raises(torch.OutOfMemoryError):
                memory.reserve(500)
        else:
            memory.reserve(500)
    assert memory.version > version and holds(memory, slot, 7.0)
    fill(memory, slot, 8.0)
    other = memory.reserve(30)
    fill(memory, other, 1.0)
    assert other.start >= 10 and holds(memory, slot, 8.0) and holds(memory, other, 1.0)
    assert {len(tensor) for layer in range(3) for tensor in memory.of_layer(layer)} == {memory.capacity}


def test_trimming_gives_back_what_is_behind_the_last_slot_and_keeps_the_rest():
    memory = new_memory()
    first, second, third = (memory.reserve(n) for n in (10, 20, 30))
    fill(memory, second, 2.0)
    del first, third
    assert memory.trim() and memory.capacity == 31 and holds(memory, second, 2.0)
    assert not memory.trim()
    grown = memory.reserve(40)
    assert memory.capacity == 71  # and no more than needed from then on
    del second, grown
    assert memory.trim() and memory.capacity == 1


def test_trimming_without_room_for_a_copy_gives_back_nothing(monkeypatch):
    memory = new_memory()
    slots = [memory.reserve(10), memory.reserve(200)]
    fill(memory, slots[0], 4.0)
    slots.pop()
    Room(memory, monkeypatch).positions = memory.capacity
    capacity = memory.capacity
    assert not memory.trim() and memory.capacity == capacity and holds(memory, slots[0], 4.0)


def test_any_sequence_of_reserves_releases_and_trims_keeps_all_slots_apart_and_whole():
    rng, memory, held = random.Random(3), new_memory(), {}
    for number in range(300):
        move = rng.random()
        if move < 0.55 or not held:
            slot = memory.reserve(rng.randint(1, 40))
            fill(memory, slot, float(10 * number))
            held[slot] = float(10 * number)
        elif move < 0.95:
            held.pop(rng.choice(list(held)))
            slot = None
        else:
            memory.trim()
        assert all(holds(memory, slot, number) for slot, number in held.items())
        assert all(slot.start + slot.length < memory.capacity for slot in held)


def test_bytes_of_a_position_are_those_of_its_keys_and_values():
    memory = new_memory()
    slot = memory.reserve(1000)
    memory.trim()
    used = sum(tensor.nbytes for layer in range(3) for tensor in memory.of_layer(layer))
    assert used == bytes_per_position(**SHAPE) * memory.capacity == bytes_per_position(**SHAPE) * (slot.length + 1)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("shapes do not match"), False),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors_also_from_below_another_one(error, told):
    assert is_out_of_memory(error) is told
    try:
        try:
            raise error
        finally:
            raise RuntimeError("the recording was broken off")
    except RuntimeError as later:
        assert is_out_of_memory(later) is told
