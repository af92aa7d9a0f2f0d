"""Traces judged by any model that lm_eval has (`lm-eval-mdlm judge`). Nothing is sent to a model that is not named."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from tqdm import tqdm

from ..errors import UsageError
from ..files import only_a_file
from ..running.ending import ends_on_signals, last_act
from ..running.journal import Journal
from ..running.launched import number_of_processes
from ..running.output import RUN, check_output, is_complete, write_lines
from ..traces.trace import Trace, read_traces
from ..traces.verdicts import DEFAULT_PROMPT, verdict_in
from .arguments import options_of


logger = logging.getLogger("lm_eval.mdlm")
GEN_KWARGS: Mapping[str, Any] = {"until": [], "max_gen_toks": 1024, "do_sample": False, "temperature": 0.0}
"""Of a judge, under what --gen_kwargs says."""
AT_A_TIME = 64
"""Traces between two entries of the journal."""


@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """What is asked for on the command line."""

    traces: Path
    output: Path
    model: str
    model_args: Sequence[str] = ()
    gen_kwargs: Sequence[str] = ()
    prompt: Path | None = None
    apply_chat_template: bool = False
    journal: str | None = None
    batch_size: str | None = None
    device: str | None = None


def judge_file(options: JudgeOptions) -> str:
    """Ask the model about every trace and write the verdicts; a summary in one line.

    Raises:
        UsageError: For whatever cannot be; wherever possible before the model is loaded.
    """
    if number_of_processes() > 1:
        raise UsageError("judge runs in one process; start it without a launcher (hf: parallelize=True).")
    check_output(options.output)
    traces = read_traces(options.traces)
    texts = _texts(traces, options.prompt)
    gen_kwargs = {**GEN_KWARGS, **options_of("--gen_kwargs", options.gen_kwargs)}
    model_args = options_of("--model_args", options.model_args)
    head = [options.model, model_args, gen_kwargs, options.apply_chat_template]
    keys = [_digest([*head, text]) for text in texts]
    run = _digest([keys, [dict(trace.record) for trace in traces]])
    if is_complete(options.output, run, len(traces)):
        return f"{options.output} was complete already"
    with _stored(options.journal) as (found, keep):
        replies = {key: reply for key in keys if (reply := found(key)) is not None}
        wanted = {key: text for key, text in zip(keys, texts, strict=True) if key not in replies}
        if wanted:
            ask = _judge(options, model_args, gen_kwargs)
            for some in tqdm(list(_portions(list(wanted)))):
                for key, reply in zip(some, ask([wanted[key] for key in some]), strict=True):
                    replies[key] = reply
                    keep(key, reply)
    judged = [verdict_in(replies[key]) for key in keys]
    lines = [
        {**trace.record, "judged": verdict, "verdict": replies[key], "judge": options.model, RUN: run}
        for trace, key, verdict in zip(traces, keys, judged, strict=True)
    ]
    write_lines(options.output, lines)
    if without := judged.count(None):
        logger.warning("%d of %d replies hold neither CORRECT nor INCORRECT; judged is null there.", without, len(keys))
    return f"{options.output}: {judged.count(True)} of {len(judged)} traces judged right, {judged.count(False)} wrong"


def _texts(traces: Sequence[Trace], prompt: Path | None) -> list[str]:
    """What the judge is asked, one text per trace."""
    try:
        source = DEFAULT_PROMPT if prompt is None else only_a_file(prompt).read_text(encoding="utf-8")
        template = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined).from_string(source)
    except (OSError, UnicodeDecodeError, jinja2.TemplateError) as error:
        raise UsageError(f"--prompt {prompt} cannot be read ({error}); give a text file with Jinja fields.") from None
    texts = []
    for trace in traces:
        try:
            texts.append(template.render(**trace.record))
        except Exception as error:  # an expression in a template may raise whatever Python can
            raise trace.refused(f"--prompt cannot be filled in ({error}); use keys that every line has.") from None
    return texts


def _judge(
    options: JudgeOptions, model_args: Mapping[str, Any], gen_kwargs: Mapping[str, Any]
) -> Callable[[Sequence[str]], list[str]]:
    """Loads the model; gives a function from texts to replies."""
    try:
        kind = get_model(options.model)
    except ValueError as error:
        raise UsageError(f"--model {options.model} is unknown to lm_eval: {str(error).splitlines()[0]}") from None
    given = {"batch_size": options.batch_size, "device": options.device}
    model = kind.create_from_arg_obj(dict(model_args), {name: value for name, value in given.items() if value})

    def ask(texts: Sequence[str]) -> list[str]:
        contexts: list[Any] = list(texts)
        if options.apply_chat_template:
            contexts = [model.apply_chat_template([{"role": "user", "content": text}]) for text in texts]
        requests = [
            Instance(
                request_type="generate_until",
                doc={},
                arguments=(context, dict(gen_kwargs)),
                idx=0,
                metadata=("judge", place, 1),
            )
            for place, context in enumerate(contexts)
        ]
        replies: list[str] = model.generate_until(requests, disable_tqdm=True)
        return [str(reply) for reply in replies]

    return ask


@contextmanager
def _stored(folder: str | None) -> Iterator[tuple[Callable[[str], Any], Callable[[str, str], None]]]:
    """How replies are found and kept, in a journal if one is named."""
    if folder is None:
        yield (lambda key: None), (lambda key, reply: None)
        return
    resume = f"the same command goes on from --journal {folder}."
    with Journal.open(folder) as journal, last_act(journal.flush), ends_on_signals(resume):
        yield journal.find, journal.add


def _portions(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), AT_A_TIME):
        yield keys[start : start + AT_A_TIME]


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
