"""The content of a LaTeX answer box."""

import re


_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
# Where an answer that lost its closing brace ends: a line, a formula or a sentence.
_END_OF_OPEN_BOX = re.compile(r"\n|(?<!\\)\$|\\\)|(?<!\\)\\\]|\.(?=\s|$)")


def last_boxed(text: str) -> str | None:
    r"""What stands in the last `\boxed{...}` (or `\fbox{...}`) that holds anything, stripped.

    None without a box, an empty text if all are empty. A box that is never closed, as an answer block that is full
    leaves it, ends at the first line break, `$`, `\)`, `\]` or full stop, and where the next box begins. Escaped braces
    do not count as braces.
    """
    boxes = list(_BOX.finditer(text))
    ends = [*(box.start() for box in boxes[1:]), len(text)][: len(boxes)]
    for box, end in zip(reversed(boxes), reversed(ends), strict=True):
        if content := _content(text[box.end() : end]):
            return content
    return "" if boxes else None


def _content(text: str) -> str:
    depth = 1
    for brace in re.finditer(r"(?<!\\)[{}]", text):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return text[: brace.start()].strip()
    text = text.lstrip("$ \n")
    end = _END_OF_OPEN_BOX.search(text, len(text) - len(text.lstrip("-+\u2212$ ")))  # -$3 does not end at its sign
    return text[: end.start() if end else len(text)].strip()
