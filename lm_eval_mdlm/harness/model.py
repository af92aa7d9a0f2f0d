"""The model `mdlm` of lm-evaluation-harness: requests in, texts with their counts out."""

import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import lm_eval.models  # noqa: F401  first: the built-in models load only into an empty registry
import torch
from lm_eval.api.model import LM, CacheHook
from lm_eval.api.registry import register_model
from lm_eval.api.task import ConfigurableTask

from ..checkpoints.load import load_backbone
from ..engine.record import Generation
from ..errors import UsageError, print_usage_errors_in_one_line
from ..options.decoding import DecodingConfig
from ..options.loading import LoadingConfig, split_options
from ..running.generation import budget_of, run
from ..running.processes import ProcessGroup
from ..running.work_sharing import RowRequest
from .chat import ChatTokenizer
from .provenance import provenance
from .requests import options_of_request
from .task import CountedText, add_stats


logger = logging.getLogger("lm_eval.mdlm")


@register_model("mdlm")
class MDLM(LM):  # type: ignore[misc]
    """A masked diffusion language model behind the harness's interface.

    Takes the options of `LoadingConfig` and `DecodingConfig` as `--model_args`; those of `DecodingConfig` also as
    `--gen_kwargs` or in a task's `generation_kwargs`, where they win.
    """

    def __init__(self, pretrained: str | None = None, **options: Any) -> None:
        super().__init__()
        print_usage_errors_in_one_line()
        loading, self._given = split_options({"pretrained": pretrained, **options})
        self.loading = LoadingConfig.from_options(loading)
        self.config = DecodingConfig.from_options(self._given)
        self._group = ProcessGroup()
        self._rank, self._world_size = self._group.rank, self._group.world_size
        self.backbone = load_backbone(**self.loading.for_backbone(self._group.device(self.loading.device)))
        self._device = self.backbone.device
        self._budget = budget_of(
            self.backbone, self.loading.batch_size, self.loading.max_batch_size, cached=self.config.cache != "none"
        )
        self._chat = ChatTokenizer(self.backbone.tokenizer)
        self.tokenizer = self._chat.tokenizer
        self._effective: dict[str, dict[str, Any]] = {}
        self._totals: Counter[str] = Counter()
        self._nfe_by_process: Counter[int] = Counter()
        self._has_shared = False
        self._said: set[str] = set()
        if self.loading.task_stats:
            add_stats(ConfigurableTask)

    @classmethod
    def create_from_arg_obj(cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None) -> "MDLM":
        """Build from model_args, which win over the harness's own `device` and `batch_size` defaults."""
        harness = {k: v for k, v in (additional_config or {}).items() if v is not None}
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
        """The conversation as the model's own chat template writes it."""
        return self._chat.render(chat_history, add_generation_prompt)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Decode all requests; every one is checked before the first forward pass.

        Under a launcher the processes decode their requests together, so this is collective; see also `barrier`.
        """
        started = time.monotonic()
        sections = self._group.everyones(lambda: self._checked(requests))
        self._has_shared = True
        if not any(sections):
            return []

        def keep(index: int, generation: Generation) -> None:
            self.cache_hook.add_partial("generate_until", requests[index].args, CountedText.of(generation))

        show = self.rank == 0 and not disable_tqdm
        decoded = run(self.backbone, sections, group=self._group, budget=self._budget, progress=show, on_finish=keep)
        done = decoded.generations
        self._totals.update(requests=len(done), nfe=sum(g.nfe for g in done), tokens=sum(g.tokens for g in done))
        self._totals["seconds"] += round(time.monotonic() - started)
        self._nfe_by_process.update(dict(enumerate(decoded.nfe_by_process)))
        return [CountedText.of(generation) for generation in done]

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Not available yet."""
        raise NotImplementedError(
            "mdlm cannot score loglikelihood requests yet; choose tasks of output_type generate_until (gsm8k_mdlm)."
        )

    loglikelihood_rolling = loglikelihood

    def _checked(self, requests: Sequence[Any]) -> list[RowRequest]:
        asked = self._row_requests(requests)
        self._report_truncation([request.plan(self.backbone).truncated for request in asked])
        return asked

    def _row_requests(self, requests: Sequence[Any]) -> list[RowRequest]:
        asked = []
        seen: Counter[int] = Counter()  # a request that is to be sampled several times comes as the same object
        for request in requests:
            context, raw = request.args
            config = self._config_of(raw)
            self._effective[str(request.task_name)] = config.effective()
            repeat = seen[id(request)] % (request.repeats or 1)  # padding of a process repeats the samples it has
            self._check_cache_holds_one(config, raw, repeat)
            ids = self._chat.encode(context, config.add_bos_token)
            asked.append(RowRequest(prompt_ids=ids, config=config, repeat=repeat))
            seen[id(request)] += 1
        return asked

    def _config_of(self, generation_kwargs: Mapping[str, Any]) -> DecodingConfig:
        options = self.loading.without_fixed(options_of_request(generation_kwargs))
        config = DecodingConfig.from_options(options, base=self.config)
        for name in options:
            ours, theirs = getattr(self.config, name), getattr(config, name)
            if name in self._given and ours != theirs:
                self._say_once(f"{name}: the task's or --gen_kwargs' value {theirs!r} replaces model_args' {ours!r}.")
        unused = generation_kwargs.get("temperature")
        if unused and not config.temperature:
            self._say_once(f"temperature={unused} has no effect with do_sample=False; add do_sample=true to sample.")
        if generation_kwargs.get("do_sample") and not config.temperature:
            raise UsageError("do_sample=True needs a temperature above 0, got 0; set temperature, or do_sample=False.")
        return config

    def _say_once(self, line: str) -> None:
        if self.rank == 0 and line not in self._said:
            self._said.add(line)
            logger.warning(line)

    def _report_truncation(self, truncated: Sequence[bool]) -> None:
        if cut := sum(truncated):
            logger.warning(
                "%d of %d prompts were cut from the left to fit max_length=%d beside their region (rank %d).",
                *(cut, len(truncated), self.max_length, self.rank),
            )

    def _check_cache_holds_one(self, config: DecodingConfig, raw: Mapping[str, Any], repeat: int) -> None:
        draws = config.temperature > 0 or config.policy().needs_noise
        if repeat and draws and not raw.get("do_sample") and self.cache_hook.dbdict is not None:
            way_out = "add do_sample=true to --gen_kwargs, or " if config.temperature else ""
            raise UsageError(
                f"--use_cache keeps one text per request and would repeat it for all samples of a document; {way_out}"
                f"leave --use_cache out."
            )

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Accept a cache only if it holds results of this very model and these options."""
        super().set_cache_hook(cache_hook)
        if (stored := cache_hook.dbdict) is None:
            return
        ours = repr((self.backbone.description, sorted(self.config.effective().items(), key=str)))
        if "mdlm settings" not in stored and len(stored):
            raise UsageError(f"--use_cache {stored.filename} holds results of another model; name another file.")
        theirs = stored.setdefault("mdlm settings", ours)
        if theirs != ours:
            raise UsageError(
                f"--use_cache {stored.filename} holds results of {theirs}, this run is {ours}; name another file."
            )

    def get_model_info(self) -> dict[str, Any]:
        """What was run, for the results file: effective options by task, versions, device, dtype, totals."""
        return {
            "mdlm": {
                **provenance(self.backbone),
                "loading": self.loading.effective(),
                "decoding": self.config.effective(),
                "decoding_by_task": self._effective,
                "budget_of_a_pass": dataclasses.asdict(self._budget),
                "totals_of_rank_0": dict(self._totals),
                "nfe_by_process": [self._nfe_by_process[rank] for rank in range(self.world_size)],
                "world_size": self.world_size,
            }
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
