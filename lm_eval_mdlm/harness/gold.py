"""A document's short gold answer, as it would stand in a template's answer segment."""

from typing import Any

from lm_eval.utils import apply_template

from ..errors import UsageError


GOLD_ANSWER = "gold_answer"
"""Key of a task's metadata: a Jinja template over the document."""


def gold_answer(task: Any, doc: Any) -> str | None:
    """From the task's `metadata: {gold_answer: ...}`, else its `doc_to_target`; None where that is no text or empty.

    Raises:
        UsageError: If the template cannot be rendered.
    """
    template = (task.get_config("metadata") or {}).get(GOLD_ANSWER)
    if template is None:
        target = task.doc_to_target(doc)
        gold = str(target) if isinstance(target, (str, int, float)) else ""
        return gold if gold.strip() else None
    try:
        gold = str(apply_template(str(template), doc))
    except Exception as error:  # an expression in a template may raise whatever Python can
        why = " ".join(str(error).split())
        raise UsageError(
            f"{task.config.task}: metadata gold_answer {template!r} cannot be filled in ({why}); a document has the "
            f"fields {' '.join(', '.join(map(str, doc)).split())}."
        ) from None
    return gold if gold.strip() else None
