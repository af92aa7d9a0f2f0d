"""Every sampler and the rules over it, against the published loops in plain Python, in all that a row may ask for."""

import functools
import itertools
import json
import math

import pytest
import torch

from lm_eval_mdlm.canvas.vocabulary import vocabulary_fingerprint
from lm_eval_mdlm.decoding.proposal import RowKey, gumbel_argmax
from lm_eval_mdlm.options.frequencies import write_frequencies
from lm_eval_mdlm.options.samplers import SAMPLERS
from lm_eval_mdlm.running.generation import generate
from lm_eval_mdlm.running.likelihood import loglikelihood
from tests.published import Text, Ways, decode
from tests.slow import Slow
from tests.toy import RandomBackbone


VOCAB, MASK, ENDS = 17, 16, (1, 9)
COUNTS = {0: 50, 2: 3, 3: 1, 5: 400, 6: 20, 7: 7, 11: 90, 15: 2}


class Letters:
    """Token 0 is a, token 1 is b, and so on."""

    def encode(self, text, *, add_special_tokens=True):
        return [ord(letter) - ord("a") for letter in text]

    def decode(self, token_ids, *, skip_special_tokens=False):
        return "".join(chr(token + ord("a")) for token in token_ids)

    def get_vocab(self):
        return {chr(i + ord("a")): i for i in range(VOCAB)}


LETTERS = Letters()


def network(scale: float = 3.0) -> RandomBackbone:
    backbone = RandomBackbone(vocab_size=VOCAB, scale=scale, end_token_ids=ENDS)
    backbone.tokenizer = LETTERS
    return backbone


@pytest.fixture(scope="module", autouse=True)
def frequencies(tmp_path_factory):
    path = tmp_path_factory.mktemp("counts") / "counts.json"
    write_frequencies(path, vocabulary_fingerprint(LETTERS, "a test"), COUNTS)
    assert json.loads(path.read_text())
    return str(path)


SAMPLER_OPTIONS = [
    {"sampler": "slow_fast"},
    {"sampler": "slow_fast", "slow_threshold": 0.5, "confidence_threshold": 0.6, "stable_window": 3},
    {"sampler": "slow_fast", "slow_threshold": 0.8, "max_slow_steps": 2, "stable_variance": 0.0},
    {"sampler": "slow_fast", "stable_window": 1, "stable_variance": 30.0, "confidence_threshold": 0.5},
    {"sampler": "ada_block", "delimiters": "f", "block_length": 5},
    {"sampler": "ada_block", "delimiters": ["d", 6, 11, 5], "delimiter_threshold": 0.6, "confidence_threshold": 0.5},
    {"sampler": "ada_block", "delimiters": list(range(12)), "block_length": 2, "confidence_threshold": 0.5},
    {"sampler": "sliding_block", "block_length": 4},
    {"sampler": "sliding_block", "block_length": 6, "max_block_length": 3, "confidence_threshold": 0.5},
    {"sampler": "sliding_block", "confidence_threshold": 0.3},
    {"sampler": "dus"},
    {"sampler": "dus", "block_length": 7, "remask_below": 0.6},
    {"sampler": "dus", "block_length": 10, "skip": 2, "remask_below": 0.5},
    {"sampler": "dus", "block_length": 8, "remask_below": 1.0},
    {"sampler": "dus", "block_length": 5, "skip": 3, "remask_below": 1.0},
    {"sampler": "remdm", "remdm_loops": 5},
    {"sampler": "remdm", "remdm_share": 0.3, "remdm_loops": 3},
    {"sampler": "remdm", "remdm_share": 1.0, "remdm_loops": 2},
    {"sampler": "remdm", "remdm_share": 0.0, "remdm_loops": 4},
    {"sampler": "remdm", "remdm_loops": 0},
    {"sampler": "fixed_k", "score": "pc"},
    {"sampler": "fixed_k", "score": "pc", "k": 3, "pc_lambda": 0.0, "pc_alpha": 1.5, "block_length": 6},
    {"sampler": "fixed_k", "score": "pc", "steps": 6, "pc_lambda": 0.05},
    {"sampler": "fixed_k", "k": 3, "score": "margin", "block_length": 8},
    {"sampler": "fixed_k", "steps": 6},
    {"sampler": "med", "entropy_threshold": 1.5, "k_max": 4},
    {"sampler": "entropy_bound", "entropy_bound": 2.0, "block_length": 9},
    {"sampler": "confidence_threshold", "confidence_threshold": 0.3},
    {"sampler": "confidence_factor", "factor": 4.0},
]
TEMPLATE = [{"reasoning": 9}, {"text": "lmn"}, {"answer": 4}, {"text": "o"}, {"reasoning": 3}]
GIVEN = [{"reasoning": 12}, {"text": "lmn"}, {"answer": 5}]
REQUESTS = {
    "free": {"gen_length": 18},
    "guided": {"gen_length": 14, "cfg_scale": 0.6},
    "drawn": {"gen_length": 14, "temperature": 0.8, "seed": 3},
    "suppressed": {"gen_length": 12, "suppress_tokens": [0, 5, 7]},
    "template": {"template": TEMPLATE},
    "exit": {"template": TEMPLATE, "exit_threshold": 4.5},
    "drawn_exit": {"template": TEMPLATE, "exit_threshold": 5.0, "temperature": 1.0, "cfg_scale": 0.2},
    "capped": {"gen_length": 16, "max_nfe": 5},
    "capped_answer": {"template": TEMPLATE, "max_nfe": 6},
    "guided_cap": {"gen_length": 16, "max_nfe": 9, "cfg_scale": 0.5},
    "settled": {"gen_length": 16, "stop_when_settled": True},
    "given": {"template": GIVEN},
}
OVER_ALL = [
    {},
    {"defer_end_of_text": True},
    {"min_distance": 0.0},
    {"min_distance": 2.5},
    {"defer_end_of_text": True, "min_distance": 1.2},
]
PROMPTS = [[3, 4, 5], [7], [2, 11, 2, 11, 8, 0]]


def region_of(request) -> tuple[list[int], list[int]]:
    """Tokens of the region and positions of the answer to decode."""
    region, answer = [], []
    for segment in request.get("template", [{"reasoning": request.get("gen_length")}]):
        ((kind, value),) = segment.items()
        if kind == "text":
            region += LETTERS.encode(value)
        elif kind == "answer" and request.get("template") is GIVEN:
            region += [2, 3, *[ENDS[0]] * (value - 2)]
        else:
            answer += range(len(region), len(region) + value) if kind == "answer" else ()
            region += [MASK] * value
    return region, answer


@functools.cache
def slow_network(cfg_scale: float, forbidden: tuple[int, ...]) -> Slow:
    return Slow(network().logits_of, MASK, cfg_scale=cfg_scale, forbidden=forbidden)


def ways_of(key, answer, request, options) -> Ways:
    """All that is not the sampler's, for one row."""
    temperature = request.get("temperature", 0.0)

    def draw(step, position, row):
        seed = key.seed("token", step, position)
        return int(gumbel_argmax(torch.tensor([row], dtype=torch.float64), [temperature], [seed]))

    return Ways(
        ends=ENDS,
        answer=answer,
        draw=draw if temperature else None,
        **{name: request[name] for name in ("exit_threshold", "max_nfe", "stop_when_settled") if name in request},
        **{name: options[name] for name in ("defer_end_of_text", "min_distance") if name in options},
    )


def expected(prompt, request, options) -> Text:
    region, answer = region_of(request)
    ways = ways_of(RowKey.of(request.get("seed", 0), prompt, region, 0), answer, request, options)
    delimiters = options.get("delimiters", ())
    ids = [one if isinstance(one, int) else LETTERS.encode(one)[0] for one in delimiters]
    slow = slow_network(request.get("cfg_scale", 0.0), (MASK, *request.get("suppress_tokens", ())))
    return decode(slow, prompt, region, {**options, "delimiter_ids": ids, "counts": COUNTS}, ways)


def decoded(prompts, request, options, frequencies, **run):
    if options.get("score") == "pc":
        options = {**options, "token_frequencies": frequencies}
    answers = [[2, 3]] * len(prompts) if request.get("template") is GIVEN else None
    backbone = network()
    rows = generate(backbone, prompts, answers=answers, record_steps=True, **request, **options, **run)
    assert sum(map(len, backbone.passes)) == sum(row.nfe for row in rows)
    return rows


def fits(request, options) -> bool:
    """Whether a share of steps for every block can be had."""
    region, _ = region_of(request)
    blocks = {i // options.get("block_length", 32) for i, token in enumerate(region) if token == MASK}
    return "steps" not in options or options["steps"] % len(blocks) == 0


def compare(request, options, prompts, frequencies):
    for prompt, row in zip(prompts, decoded(prompts, request, options, frequencies), strict=True):
        text = expected(prompt, request, options)
        assert row.token_ids == text.region, prompt
        assert row.commit_steps == [text.committed_in.get(i) for i in range(len(text.region))]
        assert (row.nfe, row.stop, row.exit_step) == (text.steps * text.cost, text.stop, text.exit_step)


PAIRS = [(n, name) for n in range(len(SAMPLER_OPTIONS)) for i, name in enumerate(REQUESTS) if (n + i) % 2 == 0]


@pytest.mark.parametrize(("number", "request_name"), PAIRS, ids=str)
def test_rows_are_those_of_the_published_loop(number, request_name, frequencies):
    turn = number + list(REQUESTS).index(request_name)  # so that every rule over all meets every sampler
    request, options = REQUESTS[request_name], {**SAMPLER_OPTIONS[number], **OVER_ALL[turn % len(OVER_ALL)]}
    if fits(request, options):
        compare(request, options, [PROMPTS[turn % len(PROMPTS)]], frequencies)


@pytest.mark.slow
@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("options", SAMPLER_OPTIONS, ids=str)
def test_all_rows_are_those_of_the_published_loop(options, request_name, frequencies):
    for over in OVER_ALL:
        if fits(REQUESTS[request_name], options):
            compare(REQUESTS[request_name], {**options, **over}, PROMPTS, frequencies)


def rows_of(request_name, samplers=tuple(SAMPLERS), **over) -> list[Text]:
    request = REQUESTS[request_name]
    own = [o for o in SAMPLER_OPTIONS if o["sampler"] in samplers and fits(request, o)]
    return [expected(prompt, request, {**options, **over}) for prompt in PROMPTS[:2] for options in own]


def test_every_request_does_what_it_is_for():
    stops = {name: {text.stop for text in rows_of(name)} for name in ("exit", "capped", "settled", "free")}
    assert stops["exit"] == {"exit"} and any(text.masked() for text in rows_of("exit")) and "cap" in stops["capped"]
    assert "settled" in stops["settled"] and stops["free"] == {"complete"}


def test_only_the_schedule_that_is_published_so_has_passes_without_progress():
    assert any(text.pauses for text in rows_of("free", ["dus"]))
    assert not any(text.pauses for text in rows_of("free", set(SAMPLERS) - {"dus"}))


@pytest.mark.parametrize("over", OVER_ALL[1:], ids=str)
def test_rules_over_all_samplers_change_most_rows(over):
    changed = [a.committed_in != b.committed_in for a, b in zip(rows_of("free"), rows_of("free", **over), strict=True)]
    assert sum(changed) > len(changed) / 4


ON_PATHS = [
    {"sampler": "slow_fast", "confidence_threshold": 0.5, "slow_threshold": 0.5},
    {"sampler": "slow_fast", "stable_window": 1, "min_distance": 1.0},
    {"sampler": "ada_block", "delimiters": [1], "confidence_threshold": 0.5, "block_length": 3},
    {"sampler": "sliding_block", "block_length": 2, "confidence_threshold": 0.6},
    {"sampler": "sliding_block", "block_length": 3, "max_block_length": 2, "confidence_threshold": 0.6},
    {"sampler": "fixed_k", "score": "pc", "k": 2},
    {"sampler": "med", "entropy_threshold": 0.9, "min_distance": 0.5},
]


@pytest.mark.parametrize("options", ON_PATHS, ids=str)
def test_texts_have_the_probability_with_which_the_loop_meets_them(options, frequencies):
    backbone = RandomBackbone(vocab_size=4, scale=1.5)
    backbone.tokenizer = LETTERS
    texts = list(itertools.product(range(3), repeat=5))
    given = {**options, "token_frequencies": frequencies} if options.get("score") == "pc" else options
    found = loglikelihood(backbone, [([1, 0, 2], text) for text in texts], likelihood="path", greedy=True, **given)
    slow = Slow(backbone.logits_of, 3, forbidden=[3])
    for text, score in zip(texts, found, strict=True):
        ways = Ways(min_distance=options.get("min_distance"), draw=lambda step, i, row, text=text: text[i])
        filled = decode(slow, [1, 0, 2], [3] * 5, {**options, "delimiter_ids": [1], "counts": COUNTS}, ways)
        assert score.log_prob == pytest.approx(filled.log_prob, abs=1e-5)
        assert score.nfe == filled.steps
    assert math.fsum(math.exp(score.log_prob) for score in found) == pytest.approx(1, abs=1e-5)
    (greedy,) = generate(backbone, [[1, 0, 2]], gen_length=5, **given)
    assert [list(text) for text, score in zip(texts, found, strict=True) if score.is_greedy] == [greedy.token_ids]
