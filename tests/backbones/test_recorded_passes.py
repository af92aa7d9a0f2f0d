"""Recorded passes replay what the layers do, for whole canvases and for parts of them.

Recording is played by running the layers again on what lies in the recording's input tensor, which is all that a CUDA
graph can see; the attention kernel by a stand-in that knows starts of canvases and nothing else.
"""

import random
import weakref

import pytest
import torch

from lm_eval_mdlm.backbones import attention, graphs
from lm_eval_mdlm.backbones.graphs import GraphedLayers
from lm_eval_mdlm.backbones.invariance import MatrixProducts
from lm_eval_mdlm.backbones.layers import TransformersLayers
from lm_eval_mdlm.backbones.layout import Layout
from lm_eval_mdlm.backbones.memory import KeyValueMemory


CPU = torch.device("cpu")
SOME = torch.tensor([3, 0, 1])


def varlen(query, key, value, starts_q, starts_k, longest_q, longest_k, *, scale=None, **grouped):
    mixed = torch.full_like(query, torch.nan)  # what no canvas holds is written by nobody
    bounds = zip(
        starts_q[:-1].tolist(), starts_q[1:].tolist(), starts_k[:-1].tolist(), starts_k[1:].tolist(), strict=True
    )
    for start, end, first, last in bounds:
        if start == end:
            continue
        assert end - start <= longest_q and last - first <= longest_k
        own = [t.transpose(0, 1)[None] for t in (query[start:end], key[first:last], value[first:last])]
        attended = torch.nn.functional.scaled_dot_product_attention(*own, scale=scale, enable_gqa=True)
        mixed[start:end] = attended[0].transpose(0, 1)
    return mixed


class Played(TransformersLayers):
    """Layers that can be recorded."""

    def run(self, token_ids, layout, rows):
        bounds = zip(rows.starts[:-1], rows.starts[1:], layout.starts[:-1], layout.starts[1:], strict=True)
        for first, end, start, stop in bounds:
            own = rows.tokens[first:end]
            assert ((start <= own) & (own < stop)).all() and len(own) <= rows.longest
        return self._run(token_ids, layout)[rows.tokens]

    def padded_rows(self, num_rows):
        return max(num_rows, 16)

    def table_up_to(self, longest):
        return self._table.up_to(longest)


def play(run):
    written = run().clone()
    return lambda: written.copy_(run()), written


@pytest.fixture
def layers(backbones, family, monkeypatch):
    """The same layers run plainly, and recorded with the stand-in."""
    body = backbones[family]._body
    monkeypatch.setattr(attention, "varlen_attn", varlen)

    class Network:
        model = body._body

    def with_kernel(kernel, run):
        def wrapped(*arguments):
            monkeypatch.setattr(body._body.config, "_attn_implementation", kernel)
            return run(*arguments)

        return wrapped

    products = MatrixProducts.on(CPU, torch.float32)
    recorded = GraphedLayers(Played(Network, body._table, products), CPU, lambda: play)
    return with_kernel(attention.SDPA, body), with_kernel(attention.VARLEN, recorded), recorded


def some_of(num_tokens, rng):
    """Wanted tokens: all, none, one, repeated ones in any order, more than there are."""
    drawn = [rng.choices(range(num_tokens), k=k) for k in (1, 30, 2 * num_tokens)]
    return [torch.tensor(own, dtype=torch.long) for own in (range(num_tokens), [], *drawn)]


@torch.inference_mode()
def test_whole_canvases_in_every_shape(layers):
    plain, replayed, recorded = layers
    rng = random.Random(0)
    for _ in range(12):
        lengths = [rng.randint(1, 40) for _ in range(rng.randint(1, 5))]
        num_tokens = recorded.padded(max(64, sum(lengths)))
        assert num_tokens % graphs.TOKEN_STEP == 0 and num_tokens - max(64, sum(lengths)) < graphs.TOKEN_STEP
        token_ids, layout = torch.randint(0, 300, (num_tokens,)), Layout.of(lengths, num_tokens)
        everywhere = plain(token_ids, layout, torch.arange(num_tokens))
        for wanted in some_of(num_tokens, rng):
            got = replayed(token_ids, layout, wanted)
            torch.testing.assert_close(got, everywhere[wanted], atol=1e-5, rtol=1e-5)
    shapes = len(recorded._recordings)
    replayed(token_ids, layout, wanted)
    assert len(recorded._recordings) == shapes


def memory_of(body, family) -> KeyValueMemory:
    attention_module = body.layers[0].self_attn
    return KeyValueMemory(
        num_layers=len(body.layers),
        num_heads=attention_module.k_proj.out_features // attention_module.head_dim,
        head_width=attention_module.head_dim,
        dtype=torch.float32,
        device=CPU,
    )


@torch.inference_mode()
def test_parts_of_canvases_also_when_the_memory_grows(layers, backbones, family):
    plain, replayed, recorded = layers
    body = backbones[family]._body._body
    memories = [memory_of(body, family) for _ in range(2)]
    slots = [[memory.reserve(n) for n in (20, 333)] for memory in memories]  # longer than the least recorded length
    rng = random.Random(1)
    for step in range(8):
        if step == 5:
            for memory, own in zip(memories, slots, strict=True):
                own.append(memory.reserve(60))
        lengths = [slot.length for slot in slots[0]]
        whole = step in (0, 5)
        positions = [torch.tensor(sorted(rng.sample(range(n), n if whole else 7))) for n in lengths]
        num_parts = sum(map(len, positions))
        num_tokens = recorded.padded(max(64, num_parts))
        token_ids, wanted = torch.randint(0, 300, (num_tokens,)), torch.tensor(rng.choices(range(num_parts), k=9))
        expected, got = (
            run(token_ids, Layout.of_parts(memory, own, positions, num_tokens), wanted)
            for run, memory, own in ((plain, memories[0], slots[0]), (replayed, memories[1], slots[1]))
        )
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert all(shape.version == memories[1].version for shape in recorded._recordings)


@torch.inference_mode()
def test_the_recording_unused_for_longest_goes_first_and_long_passes_are_not_recorded(layers, monkeypatch):
    plain, replayed, recorded = layers
    monkeypatch.setattr(graphs, "MOST_GRAPHS", 2)
    monkeypatch.setattr(graphs, "MOST_TOKENS", 128)

    def run(num_tokens):
        token_ids, layout = torch.randint(0, 300, (num_tokens,)), Layout.of([30, 20], num_tokens)
        torch.testing.assert_close(
            replayed(token_ids, layout, SOME), plain(token_ids, layout, SOME), atol=1e-5, rtol=1e-5
        )

    for num_tokens in (64, 80, 64, 96, 130):
        run(num_tokens)
    assert [shape.num_tokens for shape in recorded._recordings] == [64, 96]


@torch.inference_mode()
def test_padding_longer_than_every_part(layers, backbones, family):
    _, replayed, _ = layers
    memory = memory_of(backbones[family]._body._body, family)
    slots, positions = [memory.reserve(30)], [torch.tensor([3, 4])]
    layout = Layout.of_parts(memory, slots, positions, 320)
    assert layout.longest >= 318 and layout.longest_canvas >= 30
    replayed(torch.randint(0, 300, (320,)), layout, SOME)  # the stand-in for the kernel checks lengths


@torch.inference_mode()
def test_recordings_keep_no_results_of_their_own(layers):
    _, replayed, recorded = layers
    results = []
    for num_tokens in (64, 96, 64):
        layout = Layout.of([30, 20], num_tokens)
        replayed(torch.randint(0, 300, (num_tokens,)), layout, SOME)
        results.append(recorded._states)
    assert len(recorded._recordings) == 2 and len({states.data_ptr() for states in results}) == 1
    assert len(results[0]) == graphs.MOST_TOKENS


@torch.inference_mode()
def test_given_up_recordings_are_gone_and_made_anew_after_a_rest_with_another_recorder(layers, monkeypatch):
    plain, replayed, recorded = layers
    monkeypatch.setattr(graphs, "REST", 3)
    made = []
    monkeypatch.setattr(recorded, "_new_recorder", lambda: made.append(1) or play)
    token_ids, layout = torch.randint(0, 300, (64,)), Layout.of([30, 20], 64)
    assert not recorded.give_up()  # nothing yet
    recorded._resting = 0
    replayed(token_ids, layout, SOME)
    assert recorded.give_up() and not recorded._recordings and recorded._states is None and len(made) == 2
    for rest in (3, 2, 1, 0):
        assert recorded._resting == rest and not recorded._recordings
        torch.testing.assert_close(
            replayed(token_ids, layout, SOME), plain(token_ids, layout, SOME), atol=1e-5, rtol=1e-5
        )
    assert len(recorded._recordings) == 1


@torch.inference_mode()
@pytest.mark.parametrize("broken", [torch.OutOfMemoryError, RuntimeError])
def test_a_pass_that_cannot_be_recorded_for_lack_of_memory_runs_unrecorded(layers, broken, caplog):
    plain, replayed, recorded = layers
    token_ids, layout = torch.randint(0, 300, (64,)), Layout.of([30, 20], 64)
    replayed(token_ids, layout, SOME)

    def fails(run):
        raise broken("something else")

    recorded._record_launches = fails
    longer, wider = torch.randint(0, 300, (80,)), Layout.of([30, 20], 80)
    if broken is RuntimeError:
        with pytest.raises(RuntimeError, match="something else"):
            replayed(longer, wider, SOME)
        return
    torch.testing.assert_close(replayed(longer, wider, SOME), plain(longer, wider, SOME), atol=1e-5, rtol=1e-5)
    assert not recorded._recordings and recorded._resting == graphs.REST
    assert "run unrecorded" in caplog.text


@torch.inference_mode()
def test_a_memory_of_the_same_size_at_another_place_is_not_taken_for_the_old_one(layers, backbones, family):
    plain, replayed, recorded = layers
    memories = [memory_of(backbones[family]._body._body, family) for _ in range(2)]
    rng = random.Random(2)
    slots = [[memory.reserve(40)] for memory in memories]
    for step in range(4):
        if step == 2:
            for memory in memories:
                capacity = memory.capacity
                memory._resize(3 * capacity)
                memory._resize(capacity)
        positions = [torch.tensor(sorted(rng.sample(range(40), 40 if step == 0 else 9)))]
        token_ids, wanted = torch.randint(0, 300, (64,)), torch.arange(len(positions[0]))
        expected, got = (
            run(token_ids, Layout.of_parts(memory, own, positions, 64), wanted)
            for run, memory, own in ((plain, memories[0], slots[0]), (replayed, memories[1], slots[1]))
        )
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
        # A recording goes on using the tensors that it was made with.
        assert {shape.version for shape in recorded._recordings} == {memories[1].version}


@torch.inference_mode()
def test_few_numbers_of_wanted_tokens_share_a_recording_and_no_result_is_overwritten(layers):
    plain, replayed, recorded = layers
    token_ids, layout = torch.randint(0, 300, (320,)), Layout.of([200, 90], 320)
    wanted = [torch.arange(own) for own in (0, 1, 64, 65, 128, 129, 256, 257, 320)]
    got = [replayed(token_ids, layout, own) for own in wanted]
    assert [shape.num_rows for shape in recorded._recordings] == [64, 128, 256, 320]
    for own, states in zip(wanted, got, strict=True):
        torch.testing.assert_close(states, plain(token_ids, layout, own), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_pool_whose_recordings_are_all_gone_is_never_recorded_into_again(layers, backbones, family, monkeypatch):
    """As torch's allocator has it: the pool ends with its last recording."""
    _, replayed, recorded = layers
    alive = []

    def new_pool():
        used = []
        alive.append(used)

        def record(run):
            assert not used or any(one() is not None for one in used), "recorded into a pool that has ended"
            replay, written = play(run)
            used.append(weakref.ref(replay))
            return replay, written

        return record

    monkeypatch.setattr(recorded, "_new_recorder", new_pool)
    recorded._record_launches = new_pool()
    memory = memory_of(backbones[family]._body._body, family)
    slots = [memory.reserve(20)]
    for _ in range(3):
        layout = Layout.of_parts(memory, slots, [torch.arange(slot.length) for slot in slots], 80)
        replayed(torch.randint(0, 300, (80,)), layout, SOME)
        memory._resize(memory.capacity + 50)
    assert len(alive) > 1
