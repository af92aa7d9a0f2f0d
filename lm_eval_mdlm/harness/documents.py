"""What a task's requests owe to its documents: cached prompts that fit them, options that are filled in from them."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lm_eval.utils import apply_template

from ..canvas.template import FilledText, holds_jinja
from ..errors import UsageError
from ..options.decoding import DecodingConfig
from ..options.values import flag
from .gold import GOLD_ANSWER, gold_answer
from .run import Run


logger = logging.getLogger("lm_eval.mdlm")
OPTIONS_OF_ANY_MODEL = frozenset({"until", "temperature", "top_k", "top_p", "min_p"})
"""Decoding options that other packages' models have under the same names."""


def digest_of_prompts(task: Any, run: Run, asked: Mapping[str, Any]) -> str:
    """What prompts and options of a task are made of, for the key of `--cache_requests`.

    lm_eval's own key holds the task's name, the number of shots and the tokenizer; not the documents, which another
    data_dir replaces, nor the task's configuration, the chosen samples or the chat template.
    """
    content = hashlib.blake2b(digest_size=8)
    for part in _made_of(task, run, asked):
        content.update(json.dumps(part, sort_keys=True, default=str).encode() + b"\0")
    return content.hexdigest()


def _made_of(task: Any, run: Run, asked: Mapping[str, Any]) -> Iterator[Any]:
    yield task.dump_config()
    yield asked.get("samples")
    yield run.chat_template_source
    if task.config.num_fewshot:
        yield str(getattr(getattr(task, "sampler", None), "rnd", None) and task.sampler.rnd.getstate())
        yield from task.fewshot_docs() or ()
    yield from task.eval_docs


def fill_in_documents(task: Any, gen_kwargs: Mapping[str, Any]) -> None:
    """Render templates that depend on the document, as a task's YAML may write them.

    Args:
        task: With its requests built.
        gen_kwargs: The command line's, which are the same for all documents and may not depend on one.

    Raises:
        UsageError: If a template cannot be rendered, or `--gen_kwargs` has one that is to be.
    """
    for instance in task.instances:
        if instance.request_type != "generate_until":
            continue
        context, options, *more = instance.arguments
        template = options.get("template") if isinstance(options, dict) else None
        if not isinstance(template, list) or not any(_depends_on_document(segment) for segment in template):
            continue
        if "template" in gen_kwargs:
            raise UsageError(
                "template: '{{' stands for a field of the document only in a task's YAML, and --gen_kwargs are the "
                "same for all documents; write the template into the task."
            )
        filled = [_filled(segment, instance.doc, task.config.task) for segment in template]
        options = {**options, "template": [segment for segment in filled if segment.get("text") != ""]}
        instance.arguments = (context, options, *more)


def name_gold_answers(task: Any, run: Run) -> None:
    """Put each document's gold answer beside the options of its request, where it is to be scored.

    There it also tells apart equal prompts with different answers, in a cache and in the samples.

    Args:
        task: With its requests built.
        run: Of a model, which may ask for the scores of all tasks.

    Raises:
        UsageError: If a gold answer cannot be rendered, or is to be the same for all documents.
    """
    if GOLD_ANSWER in run.started.gen_kwargs:
        raise UsageError(
            f"{GOLD_ANSWER} belongs to a document and cannot stand in --gen_kwargs; write it into the task's metadata."
        )
    for instance in task.instances:
        if instance.request_type == "generate_until":
            context, options, *more = instance.arguments
            asked = options.get("gold_score", run.gold_score)
            if asked is not None and flag("gold_score", asked):
                instance.arguments = (context, {GOLD_ANSWER: gold_answer(task, instance.doc), **options}, *more)


def asks_for_gold_score(request: Any) -> bool:
    """Whether `name_gold_answers` has been at a request."""
    return request.request_type == "generate_until" and GOLD_ANSWER in request.args[1]


def _depends_on_document(segment: Any) -> bool:
    return isinstance(segment, Mapping) and holds_jinja(segment.get("text"))


def _filled(segment: Any, doc: Any, task_name: str) -> Any:
    if not _depends_on_document(segment):
        return segment
    try:
        return {**segment, "text": FilledText(apply_template(segment["text"], doc))}
    except Exception as error:  # an expression in a template may raise whatever Python can
        why = " ".join(str(error).split())
        raise UsageError(
            f"{task_name}: template text {segment['text']!r} cannot be filled in ({why}); a document has the fields "
            f"{' '.join(', '.join(map(str, doc)).split())}."
        ) from None


def leave_out_options_of_mdlm(task_name: str, requests: Sequence[Any]) -> None:
    """Make requests of this project's tasks such that any generating model can answer them, at the same length.

    Without that, other models would be handed a `template`, which ends their run.
    """
    own = {name for name in DecodingConfig.names() if name not in OPTIONS_OF_ANY_MODEL}
    lines: dict[tuple[str, Any], None] = {}  # in order, each once
    for request in (one for one in requests if one.request_type == "generate_until"):
        context, options, *more = request.arguments
        if left_out := sorted(own & set(options)):
            masks = sum(n for segment in options.get("template") or () for kind, n in segment.items() if kind != "text")
            rest = {name: value for name, value in options.items() if name not in own}
            if length := options.get("gen_length") or masks:
                rest.setdefault("max_gen_toks", length)
            request.arguments = (context, rest, *more)
            lines[", ".join(left_out), rest.get("max_gen_toks", "its own number of")] = None
    for names, most in lines:
        logger.warning(
            "%s: %s are for --model mdlm and have no effect on this model; it generates freely, up to %s tokens.",
            *(task_name, names, most),
        )
