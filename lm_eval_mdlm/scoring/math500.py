r"""MATH-500: is a final answer equivalent to the reference, by math-verify?

What counts as the answer is the last `\boxed{...}` that holds anything, closed or not; of one that the end of its block
cuts off, what is left counts. Without a box math-verify searches the whole text itself: for a final answer in words
first, then for the last formula or number.

What does not belong to a value is taken off both answers first (`latex`). Beyond math-verify's own rules: a number in a
base equals only the same digits in the same base; decimals are compared to six significant digits and not to six
places; inequalities equal the intervals that they describe; an equation of zero is not 0. Comparisons run under limits
of time and memory (`limited`), and an answer that reaches one is wrong.
"""

from collections.abc import Mapping

from . import limited


def process_results(doc: Mapping[str, str], results: list[str]) -> dict[str, float]:
    """The task's metrics for one document.

    `acc` is 1 if the answers are equivalent. `math_verify` is the metric of that name of the stock task
    `minerva_math500` for the same text: math-verify's defaults on the whole text and the whole reference solution.
    """
    text = results[0]
    return {
        "acc": float(limited.is_correct(text, doc["answer"]) is True),
        "math_verify": float(limited.stock_match(text, doc["solution"]) is True),
    }
