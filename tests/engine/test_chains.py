"""Chains against exact values of explicit joints, and against the network's own conditionals."""

import itertools
import json
import math

import numpy as np
import pytest
import torch

from lm_eval_mdlm.engine.chains import Chains
from lm_eval_mdlm.engine.loop import answer
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.diagnosis import ChainsRequest
from tests.toy import RandomBackbone, TableBackbone


V, L = 3, 4


def joint(seed: int = 0) -> torch.Tensor:
    drawn = torch.rand((V,) * L, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 3
    return drawn / drawn.sum()


def chains(backbone, region, positions, *, n=4, given=(), prompt=(0, 1), **options) -> Chains:
    request = ChainsRequest(
        canvas=[*prompt, *region],
        prompt_length=len(prompt),
        positions=[len(prompt) + i for i in positions],
        config=DecodingConfig.from_options(options),
        num_samples=n,
        given=given,
    )
    ((_, found),) = answer(Readout(backbone), [(0, request.work(backbone))], Budget(max_rows=3))
    assert found == request.restored(json.loads(json.dumps(found.to_plain())))
    return found


def conditional(table: torch.Tensor, region: list[int]) -> tuple[np.ndarray, list[int]]:
    """Joint of the masked positions given the others, by enumeration, and these positions."""
    masked = [i for i in range(L) if region[i] == V]
    index = tuple(slice(None) if token == V else token for token in region)
    own = table[index]
    return (own / own.sum()).numpy(), masked


@pytest.mark.parametrize("region", [[V, V, V, V], [V, 1, V, V], [2, V, 0, V]])
@pytest.mark.parametrize("backwards", [False, True])
def test_means_over_chains_are_the_joint_s_entropy_and_divergence(region, backwards):
    table = joint()
    exact, masked = conditional(table, region)
    entropy = -(exact * np.log(exact)).sum()
    marginals = [exact.sum(axis=tuple(a for a in range(exact.ndim) if a != i)) for i in range(exact.ndim)]
    apart = -sum(float((m * np.log(m)).sum()) for m in marginals)
    order = masked[::-1] if backwards else masked
    n = 3000
    found = chains(TableBackbone(table), region, order, n=n)
    assert found.entropies == pytest.approx(
        [-float((m * np.log(m)).sum()) for m in (marginals[::-1] if backwards else marginals)], rel=1e-4
    )
    for values, wanted in (
        (-np.array(found.together), entropy),
        (np.array(found.conditional_entropy), entropy),
        (np.array(found.together) - found.apart, apart - entropy),
        (np.array(found.divergence), apart - entropy),
    ):
        assert abs(values.mean() - wanted) < 4.5 * values.std() / math.sqrt(n) + 1e-5
    assert np.std(found.conditional_entropy) < np.std(found.together) / 2
    assert np.std(found.divergence) < np.std(np.array(found.together) - found.apart)
    assert min(found.divergence) >= -1e-6
    # Every chain says of its own tokens what enumeration says.
    for tokens, together, own in list(zip(found.drawn, found.together, found.apart, strict=True))[:50]:
        values = tokens[::-1] if backwards else tokens
        assert together == pytest.approx(math.log(exact[values]), abs=1e-4)
        assert own == pytest.approx(sum(math.log(m[t]) for m, t in zip(marginals, values, strict=True)), abs=1e-4)
    counts = np.zeros_like(exact)
    for tokens in found.drawn:
        counts[tokens[::-1] if backwards else tokens] += 1
    statistic = ((counts - n * exact) ** 2 / (n * exact)).sum()
    assert statistic < exact.size + 5 * math.sqrt(2 * exact.size)


@pytest.mark.parametrize("scale", [0.0, 0.7])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_given_tokens_are_followed_through_the_network_s_own_conditionals(order, scale):
    backbone = RandomBackbone(vocab_size=5, scale=2.0)
    mask, prompt, region = 4, [1, 3], [4, 4, 4, 4]
    given = (2, 0, 3)

    def said(region):
        logits = backbone.logits_of([*prompt, *region]).double()
        if scale:
            other = backbone.logits_of([mask, mask, *region]).double()
            logits = other + (scale + 1) * (logits - other)
        logits[:, [0, mask] if scale else mask] = -math.inf  # a suppressed token too
        return logits.log_softmax(-1)[2:]

    given = tuple(max(token, 1) for token in given) if scale else given
    options = {"cfg_scale": scale, "suppress_tokens": [0]} if scale else {}
    found = chains(backbone, region, order, n=2, given=given, prompt=prompt, **options)
    first, together, seen = said(region), 0.0, list(region)
    for position, token in zip(order, given, strict=True):
        together += float(said(seen)[position, token])
        seen[position] = token
    assert found.given_together == pytest.approx(together, abs=1e-4)
    for tokens, own in zip(found.drawn, found.divergence, strict=True):
        seen, wanted = list(region), 0.0
        for position, token in zip(order, tokens, strict=True):
            ours, theirs = said(seen)[position], first[position]
            wanted += sum(float(p.exp() * (p - q)) for p, q in zip(ours, theirs, strict=True) if p > -math.inf)
            seen[position] = token
        assert own == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    assert found.given_apart == pytest.approx(
        sum(float(first[p, t]) for p, t in zip(order, given, strict=True)), abs=1e-4
    )
    for tokens, own in zip(found.drawn, found.together, strict=True):
        seen, wanted = list(region), 0.0
        for position, token in zip(order, tokens, strict=True):
            wanted += float(said(seen)[position, token])
            seen[position] = token
        assert own == pytest.approx(wanted, abs=1e-4)


def test_chains_that_are_alike_share_passes_and_company_changes_nothing():
    certain = torch.zeros((V,) * L, dtype=torch.float64)
    certain[1, 2, 0, 1] = 1.0
    found = chains(TableBackbone(certain), [V] * L, range(L), n=50)
    assert found.nfe == L and set(found.drawn) == {(1, 2, 0, 1)} and found.together == (0.0,) * 50
    table = TableBackbone(joint())
    many = chains(table, [V] * L, range(L), n=20)
    few = chains(table, [V] * L, range(L), n=5)
    assert many.drawn[:5] == few.drawn and many.together[:5] == few.together
    prefixes = {tokens[:j] for tokens in many.drawn for j in range(L)}
    assert many.nfe == len(prefixes) < 20 * L


def test_one_position_has_no_error():
    found = chains(TableBackbone(joint()), [V, 0, 1, 2], [0], n=6)
    assert found.together == found.apart and found.nfe == 1 and found.divergence == (0.0,) * 6
    assert found.conditional_entropy == pytest.approx([found.entropies[0]] * 6)
    assert len(set(itertools.chain(*found.drawn))) > 1
