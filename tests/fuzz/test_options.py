"""model_args, gen_kwargs and templates: any text ends in options that can be recorded, or in one line."""

import json

from hypothesis import strategies as st

from lm_eval_mdlm.canvas.template import Template
from lm_eval_mdlm.harness.arguments import options_of
from lm_eval_mdlm.harness.model import MDLM
from lm_eval_mdlm.options.checks import CHECKS
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.likelihood import LikelihoodConfig
from lm_eval_mdlm.options.loading import LoadingConfig, split_options
from lm_eval_mdlm.options.samplers import SAMPLERS
from tests.fuzz.inputs import ODD, PLAIN, SCALARS, changed, fuzz, json_of, sizes, told


NAMES = st.sampled_from([*CHECKS, *LoadingConfig.__dataclass_fields__, *LikelihoodConfig.names(), "steps_", "K", ""])
TEMPLATES = (
    [{"reasoning": 4}, {"text": "\nThe answer is "}, {"answer": 2}],
    [{"answer": 1}],
    [{"text": "a"}, {"reasoning": 2}, {"text": "b"}, {"answer": 2}, {"reasoning": 1}],
)
LIKELY = {name: (*ODD[:9], 3, 8, 0.9) for name in CHECKS} | {
    "sampler": tuple(SAMPLERS),
    "score": ("entropy", "confidence", "pc"),
    "template": (*TEMPLATES, json.dumps(TEMPLATES[0])),
    "exit_rule": ("entropy", "confidence", "logit_gap", "stable"),
    "cache": ("none", "prefix", "dual"),
    "alg": ("origin", "entropy"),
}


@st.composite
def options(draw):
    """Names with values, most of them of the right kind."""
    found = {}
    for name in draw(st.lists(NAMES, max_size=5)):
        likely = st.sampled_from(LIKELY.get(name, (1,)))
        found[name] = draw(likely if draw(st.integers(0, 2)) else SCALARS | PLAIN)
    return found


TEXTS = st.one_of(
    st.text(max_size=60),
    options().map(lambda own: ",".join(f"{name}={value}" for name, value in own.items())),
    options().map(json_of),
    st.sampled_from(['{"a": ' + "[" * 100_000, '{"k": ' + "9" * 5000 + "}", "{", "[1]", "=", ",,", "k=1=2", "{}"]),
)


@sizes(200, 20_000)
def test_text_of_model_args_ends_in_one_line(number):
    def check(text):
        given = told(lambda: options_of("--model_args", [text]))
        if given is not None:
            # No checkpoint is there, so that whatever is right about the options ends in a line too.
            told(lambda: MDLM.create_from_arg_obj({**given, "pretrained": "/nowhere/at/all"}))

    fuzz(number, check, TEXTS)


@sizes(300, 25_000)
def test_options_are_refused_or_recorded_and_read_again_as_the_same(number):
    def check(given, base):
        under = told(lambda: DecodingConfig.from_options(base))
        config = told(lambda: DecodingConfig.from_options(given, under))
        if config is None:
            return
        config.policy(), config.exit(), config.draws
        effective = told(config.effective)
        if effective is not None:
            assert json.loads(json.dumps(effective)).keys() == effective.keys()
        told(config.resolved_template)

    fuzz(number, check, options(), options())


@sizes(200, 10_000)
def test_options_of_models_and_likelihoods_are_refused_or_taken(number):
    def check(given):
        parts = told(lambda: split_options(given))
        if parts is not None:
            loading = told(lambda: LoadingConfig.from_options({"pretrained": "x", **parts[0]}))
            if loading is not None:
                loading.effective(), loading.chat_variables()
                told(lambda: loading.without_fixed(parts[1]))
            told(lambda: LikelihoodConfig.from_options(parts[2]))

    fuzz(number, check, options())


@sizes(400, 20_000)
def test_templates_are_refused_or_laid_out_as_they_say(number):
    def check(raw, length):
        template = told(lambda: Template.parse(raw))
        if template is None or template.gen_length > 10_000:
            return
        region = template.lay_out(lambda text: [ord(one) for one in text], -1)
        assert region.token_ids.count(-1) == template.gen_length
        assert [span.start for span in region.spans[1:]] == [span.stop for span in region.spans[:-1]]
        resized = told(lambda: template.resized(length))
        assert resized is None or resized.gen_length == length

    raws = st.one_of(changed(*TEMPLATES), changed(*TEMPLATES).map(json_of), st.text(max_size=40), PLAIN)
    deep = st.sampled_from(["[" * 100_000, '[{"reasoning": ' + "9" * 5000 + "}]"])
    fuzz(number, check, raws | deep, st.integers(1, 20))
