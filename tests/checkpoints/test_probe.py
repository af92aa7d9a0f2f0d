"""The probe catches networks that are not what decoding takes them for."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from lm_eval_mdlm import UsageError, load_backbone
from lm_eval_mdlm.backbones import attention
from lm_eval_mdlm.backbones.backbone import Backbone
from lm_eval_mdlm.checkpoints import probe
from lm_eval_mdlm.checkpoints.probe import prove_bidirectional


Mix = Callable[[Tensor, Sequence[int]], Tensor]


class Mixer(Backbone):
    """Random embeddings, mixed over the pass by a function that sees all canvases."""

    def __init__(self, mix: Mix) -> None:
        self.mix, self.vocab_size, self.max_length = mix, 64, 512
        self.device, self.dtype, self.tokenizer = torch.device("cpu"), torch.float32, None
        self.table = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))

    def states(self, token_ids: Tensor, lengths: Sequence[int], wanted: Tensor) -> Tensor:
        return self.mix(self.table[token_ids], lengths)[wanted]

    def head(self, states: Tensor) -> Tensor:
        return states


def inside(mix: Callable[[Tensor], Tensor]) -> Mix:
    return lambda x, lengths: torch.cat([mix(canvas) for canvas in x.split(list(lengths))])


def mean(canvas: Tensor) -> Tensor:
    return canvas + canvas.mean(dim=0)


NETWORKS = {
    "causal": (inside(lambda x: x.cumsum(dim=0)), "bidirectional"),
    "token by token": (lambda x, lengths: x, "bidirectional"),
    "one canvas of all": (lambda x, lengths: mean(x), "see each other"),
    "dependent on its place": (lambda x, lengths: inside(mean)(x, lengths) + torch.arange(len(x))[:, None], "alone"),
    "without numbers": (lambda x, lengths: inside(mean)(x, lengths) * float("nan"), "NaN .*finite"),
}


@pytest.mark.parametrize(("mix", "named"), NETWORKS.values(), ids=NETWORKS)
def test_a_network_that_breaks_the_contract_is_refused(mix, named):
    with pytest.raises(UsageError, match=rf"^some/model: .*{named}"):
        prove_bidirectional(Mixer(mix), "some/model")


def test_a_network_that_keeps_it_passes_bit_by_bit():
    assert prove_bidirectional(Mixer(inside(mean)), "some/model") is True


def test_rounding_that_depends_on_the_pass_is_reported_but_not_refused():
    def rounded(x: Tensor, lengths: Sequence[int]) -> Tensor:
        return inside(mean)(x, lengths) * (1 + 1e-6 * len(lengths))

    assert prove_bidirectional(Mixer(rounded), "some/model") is False


def test_a_checkpoint_whose_attention_turned_causal_is_refused(checkpoints, family, monkeypatch):
    original = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        attention,
        "scaled_dot_product_attention",
        lambda query, key, value, **options: original(query, key, value, is_causal=True, **options),
    )
    with pytest.raises(UsageError, match="bidirectional"):
        load_backbone(str(checkpoints[family]), device="cpu")


def test_a_checkpoint_whose_canvases_run_together_is_refused(checkpoints, family, monkeypatch):
    monkeypatch.setattr(torch, "split", lambda tensor, lengths, dim: (tensor,))
    with pytest.raises(UsageError, match="see each other"):
        load_backbone(str(checkpoints[family]), device="cpu")


@pytest.mark.parametrize("broken", ["numbers", "order"])
def test_states_that_depend_on_which_others_are_asked_for_are_reported(monkeypatch, broken):
    class Choosy(Mixer):
        def states(self, token_ids: Tensor, lengths: Sequence[int], wanted: Tensor) -> Tensor:
            if broken == "order":
                wanted = wanted.sort().values
            few = broken == "numbers" and len(wanted) < len(token_ids)
            return super().states(token_ids, lengths, wanted) * (1 + 1e-6 * few)

    assert prove_bidirectional(Choosy(inside(mean)), "some/model") is True
    monkeypatch.setattr(probe, "MATES", {"cpu": (1,)})
    assert prove_bidirectional(Choosy(inside(mean)), "some/model") is False


@pytest.mark.parametrize("broken", ["states", "logits"])
def test_rounding_that_changes_in_long_passes_only_is_reported_where_they_are_tried(monkeypatch, broken):
    class Long(Mixer):
        def head(self, states: Tensor) -> Tensor:
            return states * (1 + 1e-6 * (broken == "logits" and len(states) > 300))

    def rounded(x: Tensor, lengths: Sequence[int]) -> Tensor:
        return inside(mean)(x, lengths) * (1 + 1e-6 * (broken == "states" and len(x) > 300))

    assert prove_bidirectional(Long(rounded), "some/model") is True
    monkeypatch.setattr(probe, "MATES", {"cpu": (1, 4)})
    assert prove_bidirectional(Mixer(inside(mean)), "some/model") is True
    assert prove_bidirectional(Long(rounded), "some/model") is False


@pytest.mark.parametrize("broken", ["states", "logits"])
def test_passes_that_do_not_fit_into_memory_end_the_check_and_not_the_load(monkeypatch, broken):
    class Small(Mixer):
        def states(self, token_ids: Tensor, lengths: Sequence[int], wanted: Tensor) -> Tensor:
            if broken == "states" and len(token_ids) > 300:
                raise torch.OutOfMemoryError("no room")
            return super().states(token_ids, lengths, wanted)

        def head(self, states: Tensor) -> Tensor:
            if broken == "logits" and len(states) > 300:
                raise RuntimeError("CUDA error: out of memory")
            return states

    monkeypatch.setattr(probe, "MATES", {"cpu": (1, 4)})
    assert prove_bidirectional(Small(inside(mean)), "some/model") is True


@pytest.mark.parametrize(("share", "routed", "accepted"), [(0.1, True, True), (0.1, False, False), (0.5, True, False)])
def test_a_few_tokens_may_go_to_other_experts_by_rounding_and_not_many(share, routed, accepted):
    class Rerouted(Mixer):
        """Some states of a canvas differ behind a mate, as where a router is at a near tie."""

        def states(self, token_ids: Tensor, lengths: Sequence[int], wanted: Tensor) -> Tensor:
            whole = self.mix(self.table[token_ids], lengths)
            if len(lengths) > 1:
                whole[lengths[0] : lengths[0] + int(share * lengths[1])] += whole.abs().max()
            return whole[wanted]

    if accepted:
        assert prove_bidirectional(Rerouted(inside(mean)), "some/model", routed=routed) is False
        return
    with pytest.raises(UsageError, match="must give the same states alone and behind another"):
        prove_bidirectional(Rerouted(inside(mean)), "some/model", routed=routed)
