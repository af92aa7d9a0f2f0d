"""The content of a LaTeX answer box."""

import re


_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
# Where an answer that lost its closing brace ends: a line, a formula or a sentence.
_END_OF_OPEN_BOX = re.compile(r"\n|(?<!\\)\$|\\\)|(?<!\\)\\\]|\.(?=\s|$)")


def last_boxed(text: str) -> str | None:
    r"""What stands in the last `\boxed{...}` (or `\fbox{...}`), stripped; None without one.

    A box that is never closed, as an answer block that is full leaves it, ends at the first line break, `$`, `\)`,
    `\]` or full stop. Escaped braces do not count as braces.
    """
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    content = text[boxes[-1].end() :]
    depth = 1
    for brace in re.finditer(r"(?<!\\)[{}]", content):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return content[: brace.start()].strip()
    content = content.lstrip("$ \n")
    end = _END_OF_OPEN_BOX.search(content)
    return content[: end.start() if end else len(content)].strip()
