"""Kinds of requests of the Python interface: what is asked, and how options differ from request to request."""

import abc
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval_mdlm import generate, loglikelihood, score_traces
from lm_eval_mdlm.backbones.backbone import Backbone
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.likelihood import LikelihoodConfig
from lm_eval_mdlm.running.generation import RowRequest
from lm_eval_mdlm.running.planning import fitted_to
from lm_eval_mdlm.running.question import Question
from lm_eval_mdlm.running.scoring import ScoreRequest, Text
from lm_eval_mdlm.running.trace_scoring import TraceScoreRequest


Options = dict[str, Any]
IDS = (3, 390)
"""Ids of ordinary tokens."""


@dataclass(frozen=True)
class Texts:
    """Token ids of one request, which its number determines."""

    prompt: list[int]
    """5 to 44 tokens."""
    given: list[int]
    """2 to 4 tokens: a text to be scored, an answer, or reasoning."""

    @classmethod
    def of(cls, number: int) -> "Texts":
        """The same in every process."""
        draw = random.Random(number)
        prompt, given = draw.randrange(5, 45), draw.randrange(2, 5)
        return cls([draw.randrange(*IDS) for _ in range(prompt)], [draw.randrange(*IDS) for _ in range(given)])


class Interface(abc.ABC):
    """A function of the Python interface."""

    records_steps: bool = False
    """Whether it can record the steps of rows."""

    @abc.abstractmethod
    def question(self, backbone: Backbone, texts: Texts, options: Options) -> Question:
        """One request, which may be answered beside others of any kind."""

    @abc.abstractmethod
    def records(self, backbone: Backbone, several: Sequence[Texts], options: Options, **how: Any) -> list[Any]:
        """What the public function returns for several requests with the same options."""


@dataclass(frozen=True)
class Generating(Interface):
    """`generate`."""

    answered: bool = False
    """Whether the answer is given."""
    records_steps = True

    def question(self, backbone: Backbone, texts: Texts, options: Options) -> Question:
        config = fitted_to(backbone, DecodingConfig.from_options(options))
        return RowRequest(prompt_ids=texts.prompt, config=config, answer=texts.given if self.answered else None)

    def records(self, backbone: Backbone, several: Sequence[Texts], options: Options, **how: Any) -> list[Any]:
        answers = [texts.given for texts in several] if self.answered else None
        return list(generate(backbone, [texts.prompt for texts in several], answers=answers, **how, **options))


@dataclass(frozen=True)
class Scoring(Interface):
    """`loglikelihood`."""

    greedy: bool = False

    def question(self, backbone: Backbone, texts: Texts, options: Options) -> Question:
        own = {name: value for name, value in options.items() if name in LikelihoodConfig.names()}
        decoding = {name: value for name, value in options.items() if name not in own}
        return ScoreRequest(
            texts=(Text(context_ids=texts.prompt, text_ids=texts.given, wants_greedy=self.greedy),),
            config=fitted_to(backbone, DecodingConfig.from_options(decoding)),
            likelihood=LikelihoodConfig.from_options(own),
        )

    def records(self, backbone: Backbone, several: Sequence[Texts], options: Options, **how: Any) -> list[Any]:
        pairs = [(texts.prompt, texts.given) for texts in several]
        return list(loglikelihood(backbone, pairs, greedy=self.greedy, **how, **options))


@dataclass(frozen=True)
class ScoringTraces(Interface):
    """`score_traces`, after no reasoning and after all of it."""

    likelihood: str

    def question(self, backbone: Backbone, texts: Texts, options: Options) -> Question:
        return TraceScoreRequest(
            prompt_ids=texts.prompt,
            config=DecodingConfig.from_options(options),
            reasoning_ids=texts.given,
            answer=texts.given[:2],
            prefixes=[0, len(texts.given)],
            likelihood=self.likelihood,
        )

    def records(self, backbone: Backbone, several: Sequence[Texts], options: Options, **how: Any) -> list[Any]:
        prompts, given = [texts.prompt for texts in several], [texts.given for texts in several]
        answers, prefixes = [own[:2] for own in given], [[0, len(own)] for own in given]
        more = {"prefixes": prefixes, "likelihood": self.likelihood, **how, **options}
        return list(score_traces(backbone, prompts, given, answers, **more))


@dataclass(frozen=True)
class Kind:
    """A kind of requests."""

    ask: Interface
    options: Callable[[int], Options]
    """Of the request of a number."""


def _always(ask: Interface, **options: Any) -> Kind:
    return Kind(ask, lambda number: options)


def _plain(**options: Any) -> Kind:
    return _always(Generating(), **{"gen_length": 12, **options})


def _template(number: int) -> list[Options]:
    return [{"reasoning": 8}, {"text": f"\nNo. {number % 1000} is "}, {"answer": 4}]


def _templated(answered: bool = False, **options: Any) -> Kind:
    """With a text of each request's own, as of tasks whose template is rendered for each document."""
    med = {"sampler": "med", "entropy_threshold": 1.0}
    return Kind(Generating(answered), lambda number: {**med, **options, "template": _template(number)})


EVERYWHERE: Mapping[str, Kind] = {
    "fixed_k": Kind(Generating(), lambda number: {"k": 3, "gen_length": 14, "until": [f"{number % 1000}", "e"]}),
    "random order": _plain(k=2, score="random"),
    "med": _plain(sampler="med", entropy_threshold=1.0, until=["e"], stop_when_settled=True),
    "entropy_bound": _plain(sampler="entropy_bound", entropy_bound=1.5, temperature=0.7, top_p=0.9, top_k=40),
    "confidence_threshold": _plain(sampler="confidence_threshold", confidence_threshold=0.4, defer_end_of_text=True),
    "confidence_factor": _plain(sampler="confidence_factor", factor=3.0, temperature=0.5, min_p=0.01),
    "klass": _plain(sampler="klass", confidence_threshold=0.4, kl_threshold=1.0, history=1),
    "credit": _plain(sampler="credit", confidence_threshold=0.5, temperature=0.7),
    "local_leap": _plain(sampler="local_leap", confidence_threshold=0.5, relaxed_threshold=0.3, radius=2),
    "dus": _plain(sampler="dus", remask_below=0.3),
    "edit": _plain(sampler="edit", confidence_threshold=0.4, edit_threshold=0.4, max_edit_passes=3),
    "guided": _plain(k=4, cfg_scale=0.5),
    "suppressed": Kind(
        Generating(), lambda number: {"k": 3, "gen_length": 9, "suppress_tokens": [7, 8 + number % 100], "max_nfe": 2}
    ),
    "cut": _plain(k=4, max_length=30, min_distance=4.0),
    "template": _templated(),
    "exit by entropy": _templated(exit_threshold=8.0),
    "exit by confidence": _templated(exit_rule="confidence", exit_threshold=0.4),
    "exit by gap": _templated(exit_rule="logit_gap"),
    "exit by stability": _templated(exit_rule="stable", exit_threshold=2),
    "elbo": _always(Scoring(), likelihood="elbo", mc_num=4),
    "elbo until sure": _always(Scoring(), likelihood="elbo", mc_num=6, mc_se=0.5),
    "l2r": _always(Scoring(greedy=True), likelihood="l2r"),
    "r2l, guided": _always(Scoring(), likelihood="r2l", cfg_scale=0.5),
    "llada": _always(Scoring(), likelihood="llada", mc_num=4, mc_batch=2),
    "path": _always(Scoring(), likelihood="path", sampler="med", entropy_threshold=1.0),
    "trace": Kind(ScoringTraces("one_pass"), lambda number: {"template": _template(number)}),
    "trace by the chain rule": Kind(ScoringTraces("l2r"), lambda number: {"template": _template(number)}),
}
"""Kinds for every network."""
FREE: Mapping[str, Kind] = {
    "blocks": _plain(steps=9, block_length=4),
    "prefix cache": _plain(sampler="med", entropy_threshold=1.0, block_length=6, cache="prefix"),
    "dual cache": _templated(block_length=6, cache="dual"),
    "dream sampler": _plain(sampler="dream", steps=5, temperature=0.5, top_p=0.9, top_k=50),
    "remdm": _plain(sampler="remdm", remdm_loops=2),
    "slow_fast": _plain(sampler="slow_fast", confidence_threshold=0.4, slow_threshold=0.3, max_slow_steps=3),
    "ada_block": _plain(
        sampler="ada_block", confidence_threshold=0.4, delimiter_threshold=0.0, delimiters=[1, 2], block_length=4
    ),
    "sliding_block": _plain(sampler="sliding_block", confidence_threshold=0.4, block_length=4),
    "given answer": _templated(answered=True, sampler="fixed_k", entropy_threshold=None, temperature=1.0),
    "dream likelihood": _always(Scoring(), likelihood="dream", mc_num=4, mc_batch=2),
}
"""Kinds for networks whose tokens see everything."""
GRID: Mapping[str, Kind] = {
    "no cache": _plain(sampler="med", entropy_threshold=1.0, cache="none"),
}
"""Kinds for block-causal networks, whose other rows keep finished blocks."""


def kinds_for(backbone: Backbone) -> Mapping[str, Kind]:
    """Those that a network takes."""
    return {**EVERYWHERE, **(FREE if backbone.grid_block is None else GRID)}
