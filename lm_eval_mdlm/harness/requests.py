"""From the harness's requests to rows: context to tokens, `generation_kwargs` to decoding options."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..backbones.backbone import Backbone
from ..engine.record import Generation
from ..errors import UsageError
from ..options.decoding import DecodingConfig
from ..options.exits import OPTIONS as EXIT_OPTIONS, check_units
from ..options.foreign_names import LENGTH_NAMES
from ..options.loading import LoadingConfig
from ..options.values import flag
from ..running.generation import RowRequest
from ..running.gold import gold_of
from ..running.planning import fitted_to, lines_about, template_holds_mask
from .chat import ChatTokenizer
from .gold import GOLD_ANSWER
from .posed import Posed, origin_of
from .run import Run
from .stored import Counts


WITHOUT_EFFECT: Mapping[str, tuple[Any, ...]] = {"num_beams": (None, 1), "repetition_penalty": (None, 1, 1.0)}
"""Options of autoregressive decoding that stock tasks may set, with the values that change nothing."""


@dataclass(frozen=True)
class Asked:
    """What a request's `generation_kwargs` ask for."""

    options: Mapping[str, Any]
    """Decoding options; what is not mentioned is left to the model's own."""
    free_length: tuple[str, Any] | None
    """The harness's name for the length of a free region, and its value."""
    passed_over: str | None
    """A line about a length that gave way to another one."""
    gold: str | None
    """The document's gold answer, where it is to be scored."""


def asked_for(generation_kwargs: Mapping[str, Any], gen_kwargs: Mapping[str, Any]) -> Asked:
    """Read a request's options. `do_sample=False` means temperature 0, as everywhere in the harness.

    Args:
        generation_kwargs: The request's: the task's own with the command line's laid over them.
        gen_kwargs: The command line's alone, which win over the task's also where they name a length differently.

    Raises:
        UsageError: For an option of autoregressive decoding at a value that masked diffusion cannot honour.
    """
    options = dict(generation_kwargs)
    gold = options.pop(GOLD_ANSWER, None)
    for name, neutral in WITHOUT_EFFECT.items():
        value = options.pop(name, None)
        if value not in neutral:
            raise UsageError(
                f"{name}={value!r} is not available for masked diffusion models; "
                f"add {name}={neutral[-1]} to --gen_kwargs to run this task without it."
            )
    given = {n: options[n] for n in ("gen_length", *LENGTH_NAMES) if options.get(n) is not None}
    of_command_line = {n: value for n, value in given.items() if gen_kwargs.get(n) is not None}
    name, value = next(iter((of_command_line or given).items()), ("gen_length", None))
    for other in LENGTH_NAMES:
        options.pop(other, None)
    if name != "gen_length":
        options.pop("gen_length", None)
    do_sample = options.pop("do_sample", None)
    if do_sample is not None and not flag("do_sample", do_sample):
        options["temperature"] = 0.0
    rivals = [f"{n}={v!r}" for n, v in (of_command_line or given).items() if n != name and v != value]
    return Asked(
        options,
        free_length=None if name == "gen_length" else (name, value),
        passed_over=f"{name}={value!r} is the length asked for, and {', '.join(rivals)} gives way to it."
        if rivals
        else None,
        gold=gold,
    )


class RequestReader:
    """Turns requests into rows, checked; it remembers nothing of a run.

    Args:
        backbone: Loaded.
        chat: Its tokenizer.
        loading: The options of the model as a whole.
        config: The model's own decoding options.
        given: Names of those that the user has given.
        say: Takes a line for the user.
    """

    def __init__(
        self,
        backbone: Backbone,
        chat: ChatTokenizer,
        loading: LoadingConfig,
        config: DecodingConfig,
        given: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        self._backbone, self._chat, self._say = backbone, chat, say
        self._loading, self._config, self._given = loading, config, given

    def rows(self, requests: Sequence[Any], run: Run) -> list[Posed]:
        """One row per request, every one planned once, so that no mistake comes to light after the first pass.

        Raises:
            UsageError: For options or a context that cannot be.
        """
        if self._loading.record_steps is not None and run.stored is not None:
            raise UsageError(
                "record_steps cannot record rows that --use_cache answers; leave --use_cache out; journal=DIR in "
                "--model_args lets a run go on after a kill."
            )
        posed = []
        held_mask = truncated = 0
        unscored: Counter[str] = Counter()
        seen: Counter[int] = Counter()  # a request that is to be sampled several times comes as the same object
        for index, request in enumerate(requests):
            repeat = seen[id(request)] % (request.repeats or 1)  # padding of a process repeats the samples it has
            seen[id(request)] += 1
            try:
                row, holds_mask = self._row(request, repeat, run)
                row, reason = self._watching(row, asked_for(request.args[1], run.started.gen_kwargs).gold)
                unscored.update([reason] if reason else [])
                plan = row.plan(self._backbone)
                truncated += plan.truncated
                run.promise(str(request.task_name), plan.nominal_nfe)
            except UsageError as error:
                raise UsageError(f"{request.task_name}: {error}") from None
            held_mask += holds_mask
            posed.append(Posed(question=row, indices=[index], replies=_reply))
        if held_mask:
            self._say(
                f"the text of the mask token stands in {held_mask} of {len(posed)} prompts or templates, and was "
                f"tokenised as ordinary text there."
            )
        if truncated:
            longest = self._config.max_length or self._backbone.max_length
            self._say(
                f"{truncated} of {len(posed)} prompts were cut from the left to fit max_length={longest} beside their "
                f"region."
            )
        for reason, number in unscored.items():
            self._say(f"gold_score: {number} of {len(posed)} requests have {reason}, and no gold_logprob.")
        return posed

    def _watching(self, row: RowRequest, answer: str | None) -> tuple[RowRequest, str | None]:
        """A row with the gold tokens that it is asked to score, or why there are none."""
        if not row.config.gold_score:
            if answer is not None and not self._config.gold_score:
                raise UsageError(f"{GOLD_ANSWER}={answer!r:.40} is read with gold_score=True alone; add it.")
            return row, None
        gold = gold_of(self._backbone, row.config, answer)
        return dataclasses.replace(row, gold=gold.token_ids), gold.unscored

    def _row(self, request: Any, repeat: int, run: Run) -> tuple[RowRequest, bool]:
        """One row, and whether its text held the mask's."""
        context, raw = request.args[:2]
        config = self.config_of(raw, run)
        run.use(str(request.task_name), config.effective())
        if repeat and not config.draws:
            self._say(
                f"{request.task_name}: repeats of a document are all the same text without a temperature above 0."
            )
        _check_cache_holds_one(config, raw, repeat, run)
        encoded = self._chat.encode(context, config.add_bos_token, rendered=run.has_rendered(context))
        row = RowRequest(prompt_ids=encoded.token_ids, config=config, repeat=repeat, origin=origin_of(request))
        return row, encoded.held_mask or template_holds_mask(self._backbone, config)

    def config_of(self, generation_kwargs: Mapping[str, Any], run: Run) -> DecodingConfig:
        """The options of one request: the model's, under the request's, with the run's seed where none is set."""
        asked = asked_for(generation_kwargs, run.started.gen_kwargs)
        if asked.passed_over:
            self._say(asked.passed_over)
        options = dict(self._loading.without_fixed(asked.options))
        check_units(
            {name: getattr(self._config, name) for name in EXIT_OPTIONS},
            {name: value for name, value in options.items() if name not in run.started.gen_kwargs},
            {name: value for name, value in options.items() if name in run.started.gen_kwargs},
        )
        config = DecodingConfig.from_options(options, base=self._config)
        if asked.free_length:
            name, length = asked.free_length
            if config.template is None:
                options["gen_length"] = length
                config = DecodingConfig.from_options({"gen_length": length}, base=config)
            else:
                self._say(
                    f"{name}={length!r} is a length for free regions and leaves the template as it is; write "
                    f"gen_length to resize it, or template=null for a free region."
                )
        for name in options:
            ours, theirs = getattr(self._config, name), getattr(config, name)
            if name in self._given and ours != theirs:
                self._say(f"{name}: the task's or --gen_kwargs' value {theirs!r} replaces model_args' {ours!r}.")
        named = config.names_exit()
        if named and not {"exit_threshold", "exit_rule"} & options.keys() and not config.has_answer:
            self._say(
                f"{named} in --model_args has no effect on tasks without an answer segment in a template; the others "
                f"exit by it."
            )
            config = dataclasses.replace(config, exit_threshold=None, exit_rule=None)
        if config.gold_score and "gold_score" not in options and not config.has_one_answer:
            self._say(
                "gold_score=True in --model_args has no effect on tasks without a template with exactly one answer "
                "segment."
            )
            config = dataclasses.replace(config, gold_score=False)
        self._check_sampling(generation_kwargs, config)
        self._check_stop_strings(config)
        for line in lines_about(self._backbone, config):
            self._say(line)
        config = fitted_to(self._backbone, config)
        return config if config.seed is not None else dataclasses.replace(config, seed=run.seed)

    def _check_sampling(self, generation_kwargs: Mapping[str, Any], config: DecodingConfig) -> None:
        unused = generation_kwargs.get("temperature")
        if unused and not config.temperature:
            self._say(f"temperature={unused} has no effect with do_sample=False; add do_sample=true to sample.")
        if generation_kwargs.get("do_sample") and not config.temperature:
            raise UsageError("do_sample=True needs a temperature above 0, got 0; set temperature, or do_sample=False.")

    def _check_stop_strings(self, config: DecodingConfig) -> None:
        for stop in config.until:
            if any(escape in stop for escape in ("\\n", "\\t", "\\r")):
                self._say(
                    f"until: the stop string {stop!r} holds a backslash and a letter, not a line break or tab; "
                    f'--gen_kwargs as JSON can hold those: \'{{"until": ["\\n\\n"]}}\'.'
                )


def _reply(generation: Generation) -> list[tuple[str, Counts]]:
    return [(generation.text or "", generation.stats)]


def _check_cache_holds_one(config: DecodingConfig, raw: Mapping[str, Any], repeat: int, run: Run) -> None:
    if repeat and config.draws and not raw.get("do_sample") and run.stored is not None:
        way_out = "add do_sample=true to --gen_kwargs, or " if config.temperature else ""
        raise UsageError(
            f"--use_cache keeps one text per request and would repeat it for all samples of a document; {way_out}"
            f"leave --use_cache out."
        )
