"""A row for which the network returns no numbers ends by itself, and every other row keeps its bits."""

import math

import pytest
import torch

from lm_eval_mdlm.backbones.backbone import CanvasPart
from lm_eval_mdlm.decoding.logits import LogitRule
from lm_eval_mdlm.decoding.proposal import RowKey
from lm_eval_mdlm.engine.chains import ChainsPlan, chaining
from lm_eval_mdlm.engine.decode import decode, decoding
from lm_eval_mdlm.engine.loop import answer
from lm_eval_mdlm.engine.not_finite import Failed
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.recorded import decoding_on_record
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.likelihood import LikelihoodConfig
from lm_eval_mdlm.running.planning import plan_row
from lm_eval_mdlm.running.scoring import ScoreRequest, Text
from lm_eval_mdlm.running.trace_scoring import TraceScoreRequest
from tests.engine.test_scheduling import MASK, OPTIONS, PROMPTS, VOCAB, HashBackbone, laid_out


BAD = 38
"""A token that no prompt holds, and that is never proposed: a canvas with it is the one that gets no numbers."""


class Poisoned(HashBackbone):
    """Gives `value` in place of the logits of canvases that `BAD` stands in, once at most `most` masks are left.

    With `spreads`, all canvases of a pass with one get it, as in a kernel that multiplies by zero what it masks.
    """

    def __init__(self, value: float = math.nan, *, most: int = VOCAB, spreads: bool = False) -> None:
        super().__init__()
        self.value, self.most, self.spreads = value, most, spreads

    def read(self, canvas):
        logits = super().read(canvas)
        logits[:, BAD] = -math.inf
        return torch.full_like(logits, self.value) if self._is_hit(canvas) else logits

    def _is_hit(self, canvas) -> bool:
        return bool((canvas == BAD).any()) and int((canvas == MASK).sum()) <= self.most

    def states(self, token_ids, lengths, wanted):
        own = super().states(token_ids, lengths, wanted)
        hit = any(self._is_hit(canvas) for canvas in token_ids.split(list(lengths)))
        return own * math.nan if hit and self.spreads else own


def results(backbone, works, budget=Budget()):  # noqa: B008  immutable
    return dict(answer(Readout(backbone), enumerate(works), budget))


def rows_of(backbone, prompts, budget=Budget()):  # noqa: B008  immutable
    """One row for each kind of options, after these prompts."""
    plans = [
        plan_row(backbone, prompt, DecodingConfig.from_options(laid_out(options, 8)))
        for prompt, options in zip(prompts, OPTIONS, strict=False)
    ]
    found = dict(decode(Readout(backbone), enumerate(plans), budget))
    return {i: row if isinstance(row, Failed) else row.generation(True) for i, row in found.items()}


@pytest.fixture(scope="module")
def sound():
    return rows_of(Poisoned(), PROMPTS[: len(OPTIONS)])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("spreads", [False, True])
def test_one_row_fails_and_its_mates_keep_their_bits(sound, value, spreads):
    prompts = list(PROMPTS[: len(OPTIONS)])
    prompts[2] = [*prompts[2], BAD]
    backbone = Poisoned(value, spreads=spreads)
    found = rows_of(backbone, prompts, Budget(max_rows=5))
    assert found.pop(2) == Failed(nfe=1)
    assert found == {i: row for i, row in sound.items() if i != 2}


def test_every_kind_of_row_may_fail_in_the_middle(sound):
    for i, prompt in enumerate(PROMPTS[: len(OPTIONS)]):
        prompts = list(PROMPTS[i : i + 1]) * len(OPTIONS)
        backbone = Poisoned(most=9)
        prompts[i] = [*prompt, BAD]
        plan = plan_row(backbone, prompts[i], DecodingConfig.from_options(laid_out(OPTIONS[i], 8)))
        ((_, found),) = decode(Readout(backbone), [(0, plan)], Budget())
        assert isinstance(found, Failed), OPTIONS[i]
        # Every canvas that was run is billed to it.
        assert found.nfe == sum(map(len, backbone.passes)) > 1


def test_a_request_of_many_jobs_fails_as_one():
    config = DecodingConfig.from_options({})

    def asked(backbone, context, **likelihood):
        texts = tuple(Text(context_ids=context, text_ids=own, wants_greedy=True) for own in ([3, 4], [5, 6, 7]))
        return ScoreRequest(texts=texts, config=config, likelihood=LikelihoodConfig.from_options(likelihood)).work(
            backbone
        )

    for way in ({"likelihood": "elbo", "mc_num": 4}, {"likelihood": "l2r"}, {"likelihood": "path"}):
        backbone = Poisoned()
        contexts = [[2], [3, BAD], [4]]
        found = results(backbone, [asked(backbone, one, **way) for one in contexts], Budget(max_rows=3))
        alone = [results(Poisoned(), [asked(backbone, contexts[i], **way)])[0] for i in (0, 2)]
        assert isinstance(found[1], Failed) and [found[0], found[2]] == alone, way


def test_chains_traces_and_recorded_rows_fail_alone():
    backbone = Poisoned()
    config = DecodingConfig.from_options({"template": [{"reasoning": 3}, {"answer": 2}]})

    def chains(*canvas):
        where = {"canvas": canvas, "prompt_length": 1, "positions": (2, 1), "mask_token_id": MASK}
        return chaining(ChainsPlan(**where, rule=LogitRule((MASK,)), key=RowKey.of(0, canvas, [], 0), num_samples=3))

    def trace(*prompt):
        parts = {"reasoning_ids": [5, 6], "answer": [7], "prefixes": [0, 2], "likelihood": "one_pass"}
        return TraceScoreRequest(prompt_ids=list(prompt), config=config, **parts).work(backbone)

    def row(work, *prompt):
        return work(plan_row(backbone, prompt, config))

    def kinds(*bad):
        return [chains(2, MASK, MASK, *bad), trace(3, *bad), row(decoding_on_record, 4, *bad), row(decoding, 5, *bad)]

    together = results(backbone, [*kinds(), *kinds(BAD)])
    alone = results(Poisoned(), kinds())
    assert all(isinstance(together[i], Failed) for i in range(4, 8))
    assert [together[0], together[1]] == [alone[0], alone[1]]
    for i in (2, 3):
        assert together[i].generation(True) == alone[i].generation(True)
    assert [str(step) for step in together[2].steps_taken] == [str(step) for step in alone[2].steps_taken]


class Cached(Poisoned):
    """Its partial passes read canvases that it keeps itself."""

    memory_bytes_per_token = 1

    def reserve(self, length):
        return torch.full((length,), MASK)

    def partial_states(self, parts: list[CanvasPart]):
        found = []
        for part in parts:
            part.slot[part.positions] = part.token_ids
            found.append(self.read(part.slot.clone())[part.positions][part.wanted].float())
        return torch.cat(found)


def test_a_row_with_a_cache_fails_alone_in_a_partial_pass():
    config = DecodingConfig.from_options({"gen_length": 16, "block_length": 8, "cache": "prefix"})

    def rows(*prompts):
        backbone = Cached(most=13)
        plans = [plan_row(backbone, prompt, config) for prompt in prompts]
        return dict(decode(Readout(backbone), enumerate(plans), Budget(max_rows=2)))

    found = rows([2], [3, BAD], [4])
    alone = rows([2], [4])
    assert found[1] == Failed(nfe=4)  # 16 to 13 masks
    assert [found[i].generation(True) for i in (0, 2)] == [alone[i].generation(True) for i in (0, 1)]
