"""Exit rules and the cap on passes, against a plain decoder that was written from docs/semantics.md section 6."""

import itertools
import math

import numpy as np
import pytest

from lm_eval_mdlm.decoding.exits import AnswerView, EntropyExit, ExitRule, LogitGapExit, StableExit
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.generation import generate
from tests.toy import RandomBackbone, ScriptedBackbone


REASONING, FIXED, ANSWER = 9, 7, 3
TEMPLATE = [{"reasoning": REASONING}, {"answer": ANSWER}]
PROMPTS = [[i % 5, 3, i % 7] for i in range(6)]
MASK = 11


def probabilities(logits, forbidden=MASK):
    values = [-math.inf if token == forbidden else x for token, x in enumerate(logits)]
    top = max(values)
    weights = [math.exp(x - top) for x in values]
    return [w / math.fsum(weights) for w in weights]


class Plain:
    """One token a pass, the surest by entropy, in blocks; one canvas at a time."""

    def __init__(self, backbone, block_length, guidance=0.0):
        self.backbone, self.block_length, self.guidance = backbone, block_length, guidance

    def logits(self, prompt, region):
        given = self.backbone.logits_of([*prompt, *region])[len(prompt) :].tolist()
        if not self.guidance:
            return given
        free = self.backbone.logits_of([MASK] * len(prompt) + region)[len(prompt) :].tolist()
        w = self.guidance + 1
        return [[u + w * (c - u) for c, u in zip(cs, us, strict=True)] for cs, us in zip(given, free, strict=True)]

    def decode(self, prompt, rule, most_passes):
        """The region, passes, and why it stopped."""
        region, passes, runs = [MASK] * (REASONING + ANSWER), 0, {}
        cost = 2 if self.guidance else 1
        while MASK in region:
            if (passes + 1) * cost > most_passes:
                return region, passes * cost, "cap"
            logits = self.logits(prompt, region)
            shares = [probabilities(own) for own in logits]
            open_answer = [i for i in range(REASONING, len(region)) if region[i] == MASK]
            best = [own.index(max(own)) for own in shares]
            for i in open_answer:
                token, length = runs.get(i, (None, 0))
                runs[i] = (best[i], length + 1 if token == best[i] else 1)
            passes += 1
            done = (len(region) - region.count(MASK)) / len(region)
            fires = rule(open_answer, logits, shares, runs, done)
            first = region.index(MASK) // self.block_length * self.block_length
            block = [i for i in range(first, min(first + self.block_length, len(region))) if region[i] == MASK]
            entropy = {i: -math.fsum(p * math.log(p) for p in shares[i] if p) for i in block}
            chosen = [] if fires else [min(block, key=lambda i: (entropy[i], i))]
            if fires or (passes + 1) * cost > most_passes:
                chosen = sorted({*chosen, *open_answer})
            for i in chosen:
                region[i] = best[i]
            if fires:
                return region, passes * cost, "exit"
        return region, passes * cost, "complete"


def confidence(threshold):
    def fires(where, logits, shares, runs, done):
        return not where or sum(max(shares[i]) for i in where) / len(where) > threshold

    return fires


def logit_gap(where, logits, shares, runs, done):
    gaps = []
    for i in where:
        second, first = sorted(x for token, x in enumerate(logits[i]) if token != MASK)[-2:]
        gaps.append(first - second)
    return not where or sum(gaps) / len(gaps) >= (7.5 if done < 1 / 3 else 5.0 if done < 2 / 3 else 2.5)


def stable(passes):
    return lambda where, logits, shares, runs, done: all(runs[i][1] >= passes for i in where)


def entropy(threshold):
    def fires(where, logits, shares, runs, done):
        return -math.fsum(p * math.log(p) for i in where for p in shares[i] if p) < threshold

    return fires


def never(*_):
    return False


RULES = [
    ({"exit_rule": "confidence", "exit_threshold": 0.6}, confidence(0.6)),
    ({"exit_rule": "confidence", "exit_threshold": 0.9}, confidence(0.9)),
    ({"exit_rule": "confidence", "exit_threshold": 1}, confidence(1.0)),
    ({"exit_rule": "logit_gap"}, logit_gap),
    *(({"exit_rule": "stable", "exit_threshold": n}, stable(n)) for n in (1, 2, 3, 6)),
    ({"exit_rule": "entropy", "exit_threshold": 2.5}, entropy(2.5)),
    ({"exit_threshold": 1.0}, entropy(1.0)),
    ({}, never),
]


@pytest.mark.parametrize("cap", [None, 1, 5, 11])
@pytest.mark.parametrize(("options", "rule"), RULES, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_rows_end_where_a_plain_decoder_ends(options, rule, cap):
    backbone = RandomBackbone(vocab_size=MASK + 1, scale=4.0 if "logit_gap" in str(options) else 2.0)
    stops = set()
    for block_length, guidance in itertools.product((4, 32), (0.0, 0.8)):
        if cap == 1 and guidance:
            continue
        plain = Plain(backbone, block_length, guidance)
        expected = [plain.decode(prompt, rule, cap or 1000) for prompt in PROMPTS]
        more = {"template": TEMPLATE, "block_length": block_length, "cfg_scale": guidance, "max_nfe": cap, **options}
        for batch_size in (3, "auto"):
            found = generate(backbone, PROMPTS, batch_size=batch_size, **more)
            assert [(row.token_ids, row.nfe, row.stop) for row in found] == expected
        stops |= {stop for _, _, stop in expected}
        assert all(row.early_exit == (row.stop == "exit") == (row.exit_step is not None) for row in found)
    assert stops - {"complete"} or not (options or cap)


def test_the_rules_do_different_things():
    backbone = RandomBackbone(vocab_size=MASK + 1, scale=4.0)
    outcomes = {str([r.nfe for r in generate(backbone, PROMPTS, template=TEMPLATE, **o)]) for o, _ in RULES}
    assert len(outcomes) >= len(RULES) - 2


def test_a_row_that_settles_says_so_and_a_complete_one_at_the_cap_is_complete():
    backbone = ScriptedBackbone(lambda canvas: [1] * len(canvas), vocab_size=4, mask_token_id=3)
    backbone.end_token_ids = (1,)
    (row,) = generate(backbone, [[0]], gen_length=4, score="left_to_right", stop_when_settled=True)
    assert (row.stop, row.nfe) == ("settled", 1)
    (row,) = generate(backbone, [[0]], gen_length=4, max_nfe=4)
    assert (row.stop, row.nfe, 3 in row.token_ids) == ("complete", 4, False)
    (row,) = generate(backbone, [[0]], gen_length=4, max_nfe=3)
    assert (row.stop, row.nfe, row.token_ids.count(3)) == ("cap", 3, 1)


@pytest.mark.parametrize("cap", range(1, 8))
def test_a_row_whose_answer_the_cap_fills_is_complete_once_no_mask_is_left(cap):
    template = [{"reasoning": 3}, {"answer": 7}]
    (row,) = generate(RandomBackbone(vocab_size=6), [[0]], template=template, block_length=2, max_nfe=cap)
    assert (row.stop, row.nfe, row.token_ids.count(5)) == (("cap", cap, 3 - cap) if cap < 3 else ("complete", cap, 0))


def test_an_odd_cap_leaves_the_last_pass_of_a_guided_pair_out():
    backbone = RandomBackbone(vocab_size=6)
    (row,) = generate(backbone, [[0]], gen_length=4, max_nfe=5, cfg_scale=0.5)
    assert (row.nfe, row.stop, row.token_ids.count(5)) == (4, "cap", 2)


@pytest.mark.parametrize("rule", [LogitGapExit(), StableExit(3)])
def test_nothing_masked_in_the_answer_fires(rule: ExitRule):
    none, real = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    view = AnswerView(none, real, real, real, none, share_committed=0.0, memory=None)
    assert rule.judge(view)[0] and EntropyExit(1e-9).judge(view)[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"exit_rule": "confidence"}, "exit_rule=confidence needs exit_threshold, from 0 to 1, got None"),
        ({"exit_rule": "confidence", "exit_threshold": 1.2}, "from 0 to 1, got 1.2"),
        (
            {"exit_rule": "logit_gap", "exit_threshold": 0.3},
            "exit_threshold=0.3 would be ignored by exit_rule=logit_gap",
        ),
        ({"exit_rule": "stable", "exit_threshold": 1.5}, "a number of passes from 1 on, got 1.5"),
        ({"exit_rule": "stable", "exit_threshold": 0}, "a number of passes from 1 on, got 0"),
        ({"exit_rule": "entropy"}, "exit_rule=entropy needs exit_threshold, in nats"),
        ({"exit_rule": "gap"}, "exit_rule must be"),
        ({"max_nfe": 0}, "max_nfe must be"),
        ({"max_nfe": 1, "cfg_scale": 1.0}, "max_nfe must be at least 2 with cfg_scale above 0"),
        ({"exit_rule": "logit_gap", "gen_length": 4}, "exit_rule=logit_gap needs a template with an answer segment"),
    ],
    ids=str,
)
def test_bad_input_is_one_line(options, words):
    with pytest.raises(UsageError, match=words) as caught:
        generate(RandomBackbone(vocab_size=6), [[0]], **options)
    assert "\n" not in str(caught.value)


def test_effective_options_name_the_rule():
    template = [{"reasoning": 4}, {"answer": 2}]
    named = DecodingConfig.from_options({"template": template, "exit_threshold": 0.2}).effective()
    assert (named["exit_rule"], named["exit_threshold"], named["max_nfe"]) == ("entropy", 0.2, None)
    assert DecodingConfig.from_options({"template": template}).effective()["exit_rule"] is None
