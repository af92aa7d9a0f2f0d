"""Loops of samplers with a memory, like those of the others in `tests.published`: with the rules over all samplers."""

import contextlib
from typing import Any

from lm_eval_mdlm.decoding.proposal import RowKey
from tests.published import EndedError, Text, Ways, blocks_of
from tests.slow import Slow
from tests.slow_samplers import RULES, DreamRule, Request


def with_memory(text: Text, o: dict[str, Any]) -> None:
    """`klass`, `credit` and `local_leap`; what they see of a block stands in for what the network said."""
    for block in blocks_of(text, o):
        rule = RULES[o["sampler"]](o)
        while text.masked(block):
            text.read()
            text.rows = list(text.rows)  # the network keeps its own
            for i, row in rule.see({i: text.rows[i] for i in text.masked(block)}).items():
                text.rows[i], text.likeliest[i] = row, row.index(max(row))
                draw = text.ways.draw
                text.proposed[i] = text.likeliest[i] if draw is None else draw(text.steps - 1, i, row)
            own = text.eligible(block)
            text.commit(rule.pick({i: text.rows[i] for i in own}), own, len(block))


def dream(text: Text, o: dict[str, Any], key: RowKey) -> None:
    rule = DreamRule(Request(text.prompt, text.region, [], [], (), o, key), list(text.free))
    step = 0
    while text.masked():
        text.read()
        rule.see({i: text.rows[i] for i in text.masked()})
        text.proposed = {i: rule.tokens[i] for i in text.masked()}
        own = text.eligible(text.masked())
        text.commit(rule.pick({i: text.rows[i] for i in own}, step), own, len(text.region), rule.order)
        step += 1


def decode(
    network: Slow, prompt: list[int], region: list[int], options: dict[str, Any], ways: Ways, key: RowKey
) -> Text:
    """A region filled by the loop of `options["sampler"]`."""
    text = Text(network, prompt, list(region), ways)
    with contextlib.suppress(EndedError):
        if options["sampler"] == "dream":
            dream(text, options, key)
        else:
            with_memory(text, options)
    return text
