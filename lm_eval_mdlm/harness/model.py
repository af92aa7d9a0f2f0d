"""The model `mdlm` of lm-evaluation-harness: requests in, texts out, counts into the table of the run."""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lm_eval.models  # noqa: F401  first: the built-in models load only into an empty registry
import torch
from lm_eval.api.model import LM, CacheHook
from lm_eval.api.registry import register_model

from ..canvas.encoding import TextEncoder
from ..checkpoints.load import load_backbone
from ..errors import print_usage_errors_in_one_line
from ..options.decoding import DecodingConfig
from ..options.likelihood import LikelihoodConfig
from ..options.loading import LoadingConfig, split_options
from ..running.answering import Answered, run as answer_all
from ..running.budget import budget_of
from ..running.failing import refuse_failed
from ..running.known import known_in
from ..running.planning import fitted_to
from ..running.processes import ProcessGroup
from ..running.question import Question
from ..running.recording import recorder_in
from .chat import ChatTokenizer
from .effects import without_effect
from .evaluation import Started, end_with_failures, run_under_way
from .likelihoods import ScoreReader
from .posed import Posed
from .provenance import headline, identity, provenance
from .requests import RequestReader
from .run import Run
from .stored import StoredResults
from .task import counted


logger = logging.getLogger("lm_eval.mdlm")
HARNESS_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "batch_size": (None, 1, "1"),
    "max_batch_size": (None,),
    "device": (None, "cuda:0"),
}
"""What the harness passes on where the user has not asked for anything."""


@register_model("mdlm")
class MDLM(LM):  # type: ignore[misc]
    """A masked diffusion language model behind the harness's interface.

    Takes the options of `LoadingConfig` and `DecodingConfig` as `--model_args`; those of `DecodingConfig` also as
    `--gen_kwargs` or in a task's `generation_kwargs`, where they win. What belongs to one evaluation is in its `Run`.
    """

    def __init__(self, pretrained: str | None = None, **options: Any) -> None:
        super().__init__()
        print_usage_errors_in_one_line()
        loading, given, likelihood = split_options({"pretrained": pretrained, **options})
        self.loading = LoadingConfig.from_options(loading)
        self.config = DecodingConfig.from_options(given)
        self.likelihood = LikelihoodConfig.from_options(likelihood)
        self.likelihood.scorer(self.config)
        self._group = ProcessGroup()
        self._rank, self._world_size = self._group.rank, self._group.world_size
        self.backbone = load_backbone(**self.loading.for_backbone(self._group.device(self.loading.device)))
        self._device = self.backbone.device
        self.config = fitted_to(self.backbone, self.config)
        self.budget = budget_of(
            self.backbone, self.loading.batch_size, self.loading.max_batch_size, cached=self.config.keeps
        )
        encoder = TextEncoder(self.backbone.tokenizer, self.backbone.mask_token_id)
        self._chat = ChatTokenizer(encoder, self.loading.chat_variables())
        self.tokenizer = self._chat.tokenizer
        self._reader = RequestReader(self.backbone, self._chat, self.loading, self.config, tuple(given), self._say_once)
        self._scores = ScoreReader(self.backbone, self._chat, self.config, self.likelihood, self._say_once)
        self._given = (*given, *(["record_steps"] if self.loading.record_steps else [])), tuple(likelihood)
        self._rendered, self._said, self._has_shared = set[int](), set[str](), False
        self._run = self._new_run(Started())
        self._open: list[Run] = []
        for line in self.loading.without_effect(self.config):
            self._say_once(line)

    @classmethod
    def create_from_arg_obj(cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None) -> "MDLM":
        """Build from model_args, which win over the harness's own `device` and `batch_size`."""
        harness = {k: v for k, v in (additional_config or {}).items() if v is not None}
        for name, defaults in HARNESS_DEFAULTS.items():
            ours, theirs = arg_dict.get(name), harness.get(name)
            if ours is not None and theirs not in defaults and str(theirs) != str(ours):
                logger.warning("%s=%s in --model_args is used, and not --%s %s.", name, ours, name, theirs)
        return cls(**{**harness, **arg_dict})

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> "MDLM":
        """Build from model_args as text."""
        from lm_eval.utils import simple_parse_args_string

        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @property
    def tokenizer_name(self) -> str:
        """Names the tokenizer in the harness's cache of requests."""
        return self.loading.pretrained.replace("/", "__")

    @property
    def max_length(self) -> int:
        """Longest canvas in tokens."""
        return self.config.max_length or self.backbone.max_length

    @property
    def eot_token_id(self) -> int | None:
        """The end-of-text token."""
        return next(iter(self.backbone.end_token_ids), None)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template's source, for the record."""
        return self._chat.source(chat_template)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as the model's own chat template writes it, or as the one that the run was asked to use."""
        run = self._run_under_way()
        source = None if run is None else run.chat_template_source
        text = self._chat.render(chat_history, add_generation_prompt, source=source, warn=self._say_once)
        if run is None:
            self._rendered.add(hash(text))
        return text

    @contextmanager
    def evaluation(self, started: Started) -> Iterator[Run]:
        """One evaluation by the harness; tasks report counts while it lasts. One may be begun within another."""
        if not self._open:
            self._said.clear()
        run = self._run = self._new_run(started)
        self._open.append(run)
        try:
            with counted(started.tasks):
                yield run
            if self.rank == 0:
                end_with_failures(run)
        finally:
            self._open.remove(run)
            self._run = run  # of which the harness asks for the record next
            super().set_cache_hook(CacheHook(None))  # the next run has no cache, or brings its own

    def _run_under_way(self) -> Run | None:
        """The evaluation of this model that this thread is in; else the innermost, as a wrapper may use threads."""
        run = run_under_way()
        return run if run in self._open else next(reversed(self._open), None)

    def _new_run(self, started: Started) -> Run:
        return Run(
            started=started,
            seed=torch.initial_seed(),
            world_size=self._world_size,
            gold_score=self.config.gold_score,
            task_stats=self.loading.task_stats,
            chat_template_source=self._chat.source(started.chat_template),
            rendered=frozenset(self._rendered),
            effective_of=self._effective,
        )

    def _effective(self, request: Any, run: Run) -> Mapping[str, Any]:
        """The options of one request, for the record."""
        if request.request_type == "generate_until":
            return self._reader.config_of(request.args[1], run).effective()
        return self._scores.effective(request.request_type == "loglikelihood" and run.wants_greedy(request), run)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Decode all requests, checked before the first forward pass; collective, as the next two. See `barrier`."""
        return self._answer(requests, self._reader.rows, show=not disable_tqdm)

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-probability of every continuation after its context, and whether greedy decoding gives it."""
        return self._answer(requests, self._scores.pairs, show=not disable_tqdm)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-probability of every text, in windows."""
        return self._answer(requests, self._scores.rolling, show=not disable_tqdm)

    def _answer(self, requests: list[Any], read: Callable[[list[Any], Run], list[Posed]], *, show: bool) -> list[Any]:
        started = time.monotonic()
        run = self._run_under_way()
        if run is None:  # called without an evaluation: a run of its own
            run = self._run = self._new_run(Started(stored=self.cache_hook.dbdict))
        for line in without_effect(run, self._scores, *self._given):
            self._say_once(line)
        mine: list[Posed] = []

        def checked() -> list[Question]:
            mine.extend(read(requests, run))
            return [posed.question for posed in mine]

        sections = self._group.everyones(checked)
        self._has_shared = True
        if not any(sections):
            return []

        def keep(index: int, record: Any) -> None:
            posed = mine[index]
            if run.stored is not None:
                for i, (response, counts) in zip(posed.indices, posed.replies(record), strict=True):
                    run.stored.keep(requests[i], response, counts)

        answered = self._answered(sections, show=show, on_finish=keep)
        responses: list[Any] = [None] * len(requests)
        for posed, record, was_known in zip(mine, answered.records, answered.known, strict=True):
            for i, (response, counts) in zip(posed.indices, posed.replies(record), strict=True):
                responses[i] = response
                run.count(requests[i], counts, from_journal=was_known)
        run.take(time.monotonic() - started, answered.nfe_by_process)
        run.failed_rows += answered.num_failed
        return responses

    def _answered(
        self,
        sections: Sequence[Sequence[Question]],
        *,
        show: bool,
        on_finish: Callable[[int, Any], None] = lambda index, record: None,
    ) -> Answered:
        with (
            known_in(self.loading.journal, self.backbone, self._group) as known,
            recorder_in(self.loading.record_steps, self.backbone, self._group, sections) as recorder,
        ):
            return answer_all(
                self.backbone,
                sections,
                group=self._group,
                budget=self.budget,
                progress=show and self.rank == 0,
                known=known,
                recorder=recorder,
                on_finish=on_finish,
            )

    @property
    def processes(self) -> ProcessGroup:
        """Those that share the work of this model."""
        return self._group

    def posed(self, requests: list[Any], run: Run) -> list[Posed]:
        """What requests of a run, all of one type, ask for, checked: for whoever asks instead of the harness."""
        readers = {"generate_until": self._reader.rows, "loglikelihood": self._scores.pairs}
        return readers.get(requests[0].request_type, self._scores.rolling)(requests, run)

    def answered_together(self, questions: Sequence[Question]) -> list[Any]:
        """The records of questions that all processes pose alike, in every process; UsageError if one has failed."""
        size = self._group.world_size
        own = self._answered([questions[i::size] for i in range(size)], show=True)
        refuse_failed(own.num_failed, len(questions))
        parts = self._group.everyones(lambda: own.records)
        return [parts[i % size][i // size] for i in range(len(questions))]

    def _say_once(self, line: str) -> None:
        if self.rank == 0 and line not in self._said:
            self._said.add(line)
            logger.warning(line)

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Accept a cache only if it holds results of this very model and these options."""
        super().set_cache_hook(cache_hook)
        if cache_hook.dbdict is not None:
            config = self.config
            config = config if config.seed is not None else dataclasses.replace(config, seed=torch.initial_seed())
            StoredResults(cache_hook.dbdict).claim(identity(self.backbone, config, self.likelihood))

    def get_model_info(self) -> dict[str, Any]:
        """What the last run was, for the results file: effective options by task, versions, device, dtype, totals."""
        return {
            **headline(self.backbone, self.loading),
            "mdlm": {
                **provenance(self.backbone),
                "loading": self.loading.effective(),
                "decoding": self.config.effective(),
                "scoring": self.likelihood.effective(),
                "seed": self._run.seed if self.config.seed is None else self.config.seed,
                "budget_of_a_pass": dataclasses.asdict(self.budget),
                **self._run.record(),
                "world_size": self.world_size,
            },
        }

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """See `ProcessGroup`."""
        return self._group.all_gather(tensor)

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        """See `ProcessGroup`."""
        return self._group.gather_object(obj, dst)

    def barrier(self) -> None:
        """Wait for all processes; one that --use_cache has given all its answers helps the others decode first."""
        # The harness does not call `generate_until` where the cache answers everything, but it always comes here.
        if self.world_size > 1 and not self._has_shared:
            self.generate_until([], disable_tqdm=True)
        self._has_shared = False
        self._group.barrier()
