"""Random decoding options against the plain decoders: every sampler, exit and end, given answers, guidance, sampling.

Likelihoods are in test_likelihoods.py; caches, families and the sampler `edit` in test_networks.py.
"""

from hypothesis import strategies as st

from lm_eval_mdlm.options.exits import EXIT_RULES
from lm_eval_mdlm.options.samplers import SAMPLERS
from lm_eval_mdlm.running.generation import generate
from tests.engine import test_exits as exits, test_samplers as memory
from tests.engine.test_published_loops import GIVEN, VOCAB, compare, fits, frequencies  # noqa: F401 a fixture
from tests.fuzz.inputs import fuzz, sizes
from tests.slow import Slow
from tests.slow_samplers import decode_row
from tests.toy import RandomBackbone


def share(low=0.0, high=1.0):
    """Numbers that no statistic hits by chance."""
    return st.floats(low, high, allow_nan=False).map(lambda own: round(own, 4) + 0.00003)


def options(required, optional):
    return st.fixed_dictionaries(required, optional=optional)


LENGTH = {"block_length": st.integers(1, 20)}
CONFIDENCE = {"confidence_threshold": share(0.0, 0.99)}
ORDERS = st.sampled_from(["entropy", "confidence", "margin", "left_to_right"])
PC = {"pc_lambda": share(), "pc_alpha": share(0.5, 12.0)}
PUBLISHED = {
    "fixed_k": options({}, {"k": st.integers(1, 5), "score": ORDERS, **LENGTH}),
    "fixed_k of steps": options({"steps": st.integers(1, 12)}, {"score": ORDERS, **LENGTH}),
    "fixed_k of pc": options({"score": st.just("pc")}, {"k": st.integers(1, 5), **PC, **LENGTH}),
    "med": options({}, {"entropy_threshold": share(0.0, 3.0), "k_max": st.integers(1, 5), **LENGTH}),
    "entropy_bound": options({}, {"entropy_bound": share(0.0, 6.0), **LENGTH}),
    "confidence_threshold": options({}, {**CONFIDENCE, **LENGTH}),
    "confidence_factor": options({}, {"factor": share(0.0, 6.0), **LENGTH}),
    "slow_fast": options(
        {},
        {
            **CONFIDENCE,
            "slow_threshold": share(0.0, 0.99),
            "max_slow_steps": st.integers(1, 5),
            "stable_window": st.integers(1, 4),
            "stable_variance": share(0.0, 9.0),
        },
    ),
    "ada_block": options(
        {"delimiters": st.lists(st.integers(0, VOCAB - 2), min_size=1, max_size=9)},
        {"delimiter_threshold": share(0.0, 0.99), **CONFIDENCE, **LENGTH},
    ),
    "sliding_block": options({}, {"max_block_length": st.integers(1, 9), **CONFIDENCE, **LENGTH}),
    "dus": options({}, {"skip": st.integers(1, 4), "remask_below": share(0.0, 0.99), **LENGTH}),
    "remdm": options({}, {"remdm_share": share(0.0, 0.99), "remdm_loops": st.integers(0, 5)}),
}
KINDS = ("reasoning", "answer", "text")
SEGMENTS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 6)), min_size=1, max_size=4)
TEMPLATES = SEGMENTS.filter(lambda own: any(kind != "text" for kind, _ in own)).map(
    lambda own: [{kind: "lmn"[: 1 + n % 3] if kind == "text" else n} for kind, n in own]
)
SAMPLED = {"temperature": share(0.3, 1.5), "cfg_scale": share(0.1, 1.0), "seed": st.integers(0, 9)}
SUPPRESSED = {"suppress_tokens": st.lists(st.integers(0, VOCAB - 2), max_size=3, unique=True).map(sorted)}
CAP = {"max_nfe": st.integers(2, 30)}
OVER = st.fixed_dictionaries({}, optional={"defer_end_of_text": st.booleans(), "min_distance": share(0.0, 4.0)})


@st.composite
def requests(draw):
    """A region, and all that ends a row."""
    more = draw(st.fixed_dictionaries({}, optional={**SAMPLED, **SUPPRESSED, **CAP}))
    match draw(st.integers(0, 3)):
        case 0:
            return {"gen_length": draw(st.integers(1, 20)), "stop_when_settled": draw(st.booleans()), **more}
        case 1:
            return {"template": GIVEN, **more}
        case 2:
            return {"template": draw(TEMPLATES), **more}
    template = draw(TEMPLATES.filter(lambda own: any("answer" in segment for segment in own)))
    return {"template": template, "exit_threshold": draw(share(0.0, 8.0)), **more}


PROMPTS = st.lists(st.integers(0, VOCAB - 2), min_size=1, max_size=5)


@sizes(25, 1_500)
def test_rows_are_those_of_the_published_loops(number, frequencies):  # noqa: F811
    def check(name, request, over, prompt, data):
        own = {"sampler": name.split()[0], **data.draw(PUBLISHED[name]), **over}
        if fits(request, own):
            compare(request, own, [prompt], frequencies)

    fuzz(number, check, st.sampled_from(sorted(PUBLISHED)), requests(), OVER, PROMPTS, st.data())


MEMORY = {
    "klass": options({}, {**CONFIDENCE, "kl_threshold": share(0.0, 3.0), "history": st.integers(1, 4), **LENGTH}),
    "credit": options(
        {},
        {
            **CONFIDENCE,
            "credit_decay": share(0.0, 0.99),
            "credit_exponent": share(0.0, 3.0),
            "credit_strength": share(0.0, 3.0),
            **LENGTH,
        },
    ),
    "local_leap": options(
        {"confidence_threshold": share(0.5, 0.99), "relaxed_threshold": share(0.0, 0.5)},
        {"radius": st.integers(1, 6), **LENGTH},
    ),
    "dream": options(
        {"alg": st.sampled_from(["maskgit_plus", "topk_margin", "entropy"])},
        {
            "steps": st.integers(1, 20),
            "alg_temp": share(0.2, 1.0),
            "top_p": share(0.3, 0.9),
            "top_k": st.integers(1, 9),
        },
    ),
}
ANSWERS = st.none() | st.lists(st.integers(2, 9), min_size=1, max_size=2)


@sizes(12, 1_500)
def test_rows_of_samplers_with_a_memory_are_those_of_a_transcription(number):
    def check(name, extra, prompt, answer, exit_at, data):
        asked = {"sampler": name, **data.draw(MEMORY[name]), **extra}
        parts = data.draw(st.sampled_from([memory.ANSWERED, memory.LAST, None]))
        asked |= {"gen_length": data.draw(st.integers(1, 16))} if parts is None else {"template": parts}
        given = answer if parts else None
        if parts and given is None and exit_at is not None:
            asked["exit_threshold"] = exit_at
        network = memory.backbone()
        prompts = [[token % 11 for token in prompt]]
        (got,) = generate(network, prompts, answers=given and [given], record_steps=True, **asked)
        forbidden = [network.mask_token_id]
        slow = Slow(network.logits_of, forbidden[0], cfg_scale=asked.get("cfg_scale", 0.0), forbidden=forbidden)
        (row,) = memory.requests(network, prompts, asked, [given])
        expected = decode_row(slow, row)
        assert (got.token_ids, got.commit_steps) == (expected.tokens, expected.commit_steps)
        assert (got.nfe, got.exit_step) == (expected.passes * (2 if "cfg_scale" in asked else 1), expected.exit_step)

    extras = st.fixed_dictionaries({}, optional={**SAMPLED, "stop_when_settled": st.booleans()})
    exit_at = st.none() | share(0.0, 8.0)
    fuzz(number, check, st.sampled_from(sorted(MEMORY)), extras, PROMPTS, ANSWERS, exit_at, st.data())


EXITS = {
    "entropy": lambda at: ({"exit_rule": "entropy", "exit_threshold": 6 * at}, exits.entropy(6 * at)),
    "confidence": lambda at: ({"exit_rule": "confidence", "exit_threshold": at}, exits.confidence(at)),
    "logit_gap": lambda at: ({"exit_rule": "logit_gap"}, exits.logit_gap),
    "stable": lambda at: ({"exit_rule": "stable", "exit_threshold": 1 + int(8 * at)}, exits.stable(1 + int(8 * at))),
}


@sizes(20, 1_500)
def test_rows_end_where_a_plain_decoder_ends_by_any_exit(number):
    def check(name, at, block_length, guidance, cap, prompt, scale):
        asked, rule = EXITS[name](at)
        backbone = RandomBackbone(vocab_size=exits.MASK + 1, scale=scale)
        prompt = [token % exits.MASK for token in prompt]
        expected = exits.Plain(backbone, block_length, guidance).decode(prompt, rule, cap)
        asked |= {"template": exits.TEMPLATE, "block_length": block_length, "cfg_scale": guidance, "max_nfe": cap}
        (row,) = generate(backbone, [prompt], **asked)
        assert (row.token_ids, row.nfe, row.stop) == expected

    numbers = (share(0.0, 0.99), st.integers(1, 14), st.just(0.0) | share(0.1, 1.0), st.integers(2, 40))
    fuzz(number, check, st.sampled_from(sorted(EXITS)), *numbers, PROMPTS, st.sampled_from([1.0, 2.0, 4.0]))


def test_every_sampler_and_exit_is_among_them():
    assert {name.split()[0] for name in (*PUBLISHED, *MEMORY)} == set(SAMPLERS) - {"edit"}  # in test_networks.py
    assert set(EXITS) == set(EXIT_RULES)
