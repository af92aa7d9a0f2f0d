"""Samplers with a memory or a loop of their own, row by row against a transcription in plain Python."""

import pytest

from lm_eval_mdlm.decoding.proposal import RowKey
from lm_eval_mdlm.running.generation import generate
from tests.slow import Slow
from tests.slow_samplers import Request, decode_row
from tests.toy import RandomBackbone


END = 1
SAMPLERS = {
    "klass": {"confidence_threshold": 0.3, "kl_threshold": 0.8},
    "klass of one pass": {"confidence_threshold": 0.5, "kl_threshold": 0.5, "history": 1},
    "klass of three": {"confidence_threshold": 0.2, "kl_threshold": 2.0, "history": 3},
    "credit": {"confidence_threshold": 0.6},
    "credit of long memory": {
        "confidence_threshold": 0.7,
        "credit_decay": 1.0,
        "credit_exponent": 2.0,
        "credit_strength": 1.5,
    },
    "local_leap": {"confidence_threshold": 0.7, "relaxed_threshold": 0.5},
    "local_leap of one": {"confidence_threshold": 0.6, "relaxed_threshold": 0.3, "radius": 1},
    "dream": {},
    "dream of few steps": {"steps": 4, "alg": "maskgit_plus", "top_p": 0.7},
    "dream of many steps": {"steps": 25, "alg": "topk_margin", "top_k": 3},
    "dream by chance": {"steps": 9, "alg": "origin"},
    "dream in drawn order": {"steps": 7, "alg": "entropy", "alg_temp": 0.5, "top_p": 0.9, "top_k": 5},
}
ANSWERED = [{"reasoning": 6}, {"answer": 4}, {"reasoning": 5}]
LAST = [{"reasoning": 9}, {"answer": 4}]
EXTRAS = {
    "plain": {"gen_length": 15},
    "guided": {"gen_length": 11, "cfg_scale": 0.8},
    "suppressed": {"gen_length": 13, "suppress_tokens": [2, 5, 6]},
    "sampled": {"gen_length": 12, "temperature": 0.7},
    "settled": {"gen_length": 14, "stop_when_settled": True, "temperature": 1.2},
    "answer": {"template": ANSWERED},
    "exit": {"template": LAST, "exit_threshold": 5.0},
    "sampled exit": {"template": ANSWERED, "exit_threshold": 3.5, "temperature": 0.6, "cfg_scale": 0.4},
    "given": {"template": ANSWERED, "answers": [[7], [3, 9], [4, 4, 4, 4], [2]]},
    "given and settled": {"template": LAST, "answers": [[7], [3], [4, 8], [2]], "stop_when_settled": True},
}


class Drifting(RandomBackbone):
    """Distributions of a canvas are those of its length, and moved a little by every token that it holds."""

    def logits_of(self, canvas):
        still = super().logits_of((0,) * len(canvas))
        return still + 0.25 * super().logits_of(canvas)


def backbone() -> Drifting:
    return Drifting(vocab_size=12, scale=1.6, end_token_ids=(END,))


def requests(network, prompts, options, answers):
    """What every row is asked, and the region it starts from."""
    mask, rows = network.mask_token_id, []
    parts = options.get("template", [{"reasoning": options.get("gen_length", 0)}])
    for prompt, answer in zip(prompts, answers, strict=True):
        region, segments, watched = [], [], []
        for part in parts:
            ((kind, length),) = part.items()
            own = list(range(len(region), len(region) + length))
            given = None if answer is None or kind != "answer" else [*answer, *[END] * length][:length]
            region += given or [mask] * length
            segments.append(own)
            watched += own if kind == "answer" and answer is None else []
        key = RowKey.of(options.get("seed", 0), prompt, region, 0)
        rows.append(Request(prompt, region, watched, segments, (END,), options, key))
    return rows


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_rows_are_those_of_a_transcription_in_plain_python(name, extra):
    sampler = name.split()[0]
    more = dict(EXTRAS[extra])
    answers = more.pop("answers", None)
    prompts = [[3 + i, 7, 2 * i][: 1 + i % 3] for i in range(4)]
    for block_length in [None] if sampler == "dream" else [4, 99]:
        network = backbone()
        options = {"sampler": sampler, **SAMPLERS[name], **more, "seed": 5}
        if block_length:
            options["block_length"] = block_length
        if options.get("alg") == "origin" and "temperature" in options:
            options["top_p"] = 0.8
        found = generate(network, prompts, answers=answers, record_steps=True, **options)
        slow = Slow(
            network.logits_of,
            network.mask_token_id,
            cfg_scale=options.get("cfg_scale", 0.0),
            forbidden=[network.mask_token_id, *options.get("suppress_tokens", ())],
        )
        cost = 2 if "cfg_scale" in options else 1
        for got, row in zip(found, requests(network, prompts, options, answers or [None] * 4), strict=True):
            expected = decode_row(slow, row)
            assert got.token_ids == expected.tokens
            assert got.commit_steps == expected.commit_steps
            assert (got.nfe, got.exit_step) == (expected.passes * cost, expected.exit_step)
            assert got.answer_entropy == (
                None if expected.answer_entropy is None else pytest.approx(expected.answer_entropy, abs=1e-5)
            )
