"""The calculated memory against what tensors really take, and the table of docs/training.md against the calculation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lm_eval_mdlm.training.batches import NoisyRow, collate
from lm_eval_mdlm.training.footprint import (
    BFLOAT16,
    LLADA_8B,
    LLADA_8B_LORA,
    NetworkShape,
    Workload,
    footprint,
    table,
    verdict,
)
from lm_eval_mdlm.training.networks import Source, with_lora
from lm_eval_mdlm.training.objective import MaskedDenoising
from tests.tiny import make_checkpoint


ROWS, LENGTH = 4, 128


def network_and_shape(tmp_path, rank):
    source = Source.open(str(make_checkpoint(tmp_path / "start", hidden=128, layers=4, ffn=384)))
    network = source.load(torch.bfloat16 if rank else torch.float32).network
    num_weights = sum(weight.numel() for weight in network.parameters())
    network = with_lora(network, rank=rank, alpha=16.0) if rank else network
    trained = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
    sizes = {"num_layers": 4, "hidden": 128, "mlp_hidden": 384, "vocabulary": 512}
    return network, NetworkShape(**sizes, num_weights=num_weights, num_trained=trained)


def kept_for_the_backward_pass(model, batch):
    """Bytes of all tensors that autograd keeps, and that are no weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16):
        loss = model(**batch)["loss"]
    assert loss.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("rank", [0, 4], ids=["full", "lora"])
def test_passes_are_estimated_from_above_and_not_by_far(tmp_path, rank, checkpointing):
    network, shape = network_and_shape(tmp_path, rank)
    if checkpointing:
        (getattr(network, "activation_checkpointing_enable", None) or network.gradient_checkpointing_enable)(
            {"use_reentrant": False}
        )
    token_ids = np.arange(LENGTH) % 400
    row = NoisyRow(token_ids, np.arange(LENGTH), token_ids, 1 / LENGTH)  # everything is masked
    batch = collate([row] * ROWS, pad_to=None, pad_token_id=1)
    kept = kept_for_the_backward_pass(MaskedDenoising(network), batch)
    work = Workload(
        weight_bytes=BFLOAT16 if rank else 4,
        has_frozen_base=bool(rank),
        rows=ROWS,
        length=LENGTH,
        gradient_checkpointing=checkpointing,
    )
    need = footprint(shape, work)
    # Without the gradients of logits and, if layers are computed again, without the one that is at work.
    estimate = need.activations + need.copies + need.logits
    assert kept <= estimate <= (6 if checkpointing else 2) * kept


def test_weights_gradients_and_states_are_those_of_real_tensors(tmp_path):
    network, shape = network_and_shape(tmp_path, 4)
    optimiser = torch.optim.AdamW([weight for weight in network.parameters() if weight.requires_grad])
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
    optimiser.step()
    need = footprint(shape, Workload(weight_bytes=BFLOAT16, has_frozen_base=True))
    assert need.weights == sum(weight.nbytes for weight in network.parameters())
    assert need.gradients == sum(weight.grad.nbytes for weight in network.parameters() if weight.grad is not None)
    moments = [state[name] for state in optimiser.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert need.optimiser == sum(moment.nbytes for moment in moments)


def test_shape_of_llada_8b_is_the_published_one():
    embedding, layer = 126464 * 4096, 4 * 4096**2 + 3 * 4096 * 12288 + 2 * 4096
    assert LLADA_8B.num_weights == LLADA_8B.num_trained == 2 * embedding + 32 * layer + 4096
    assert LLADA_8B_LORA.num_trained == 32 * 16 * (4 * 8192 + 3 * (4096 + 12288))


def test_shards_divide_what_is_kept_and_not_what_passes_need():
    whole, eighth = (footprint(LLADA_8B, Workload(num_shards=n)) for n in (1, 8))
    for part in ("weights", "gradients", "optimiser"):
        assert getattr(whole, part) == 8 * getattr(eighth, part)
    assert eighth.logits == whole.logits
    # The embedding and the head at least are gathered in bfloat16, and so are never below 2 GB.
    assert 2e9 < eighth.copies < 16e9


@pytest.mark.parametrize(("memory", "fits"), [(27, False), (28, False), (30, True)])
def test_verdict_leaves_headroom(memory, fits):
    work = replace(
        Workload(rows=8, length=512, gradient_checkpointing=True), weight_bytes=BFLOAT16, has_frozen_base=True
    )
    said = verdict(LLADA_8B_LORA, work, num_devices=1, memory=memory)
    assert said == f"27 GB, {'fits' if fits else 'does not fit'}"


def test_documented_table_is_the_calculated_one():
    assert table() in (Path(__file__).parents[2] / "docs" / "training.md").read_text()
