"""Counts of a checkpoint's tokens in texts (`lm-eval-mdlm frequencies`)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..canvas.vocabulary import vocabulary_fingerprint
from ..checkpoints.load import tokenizer_of
from ..errors import UsageError
from ..files import only_a_file
from ..options.frequencies import write_frequencies
from ..running.output import check_output


PIECE = 2**20
"""Characters that are tokenised at a time; a piece ends with its last line."""
LONGEST_LINE = 2**22
"""Characters: a longer line may be cut in two inside a token, rather than be held as a whole."""


def count_file(*, pretrained: str, revision: str | None, text: Sequence[Path], output: Path) -> str:
    """Count the tokens of some texts and write the counts; a summary in one line.

    Args:
        pretrained: The checkpoint whose tokenizer it is.
        revision: Branch, tag or commit of a hub id.
        text: Files in UTF-8.
        output: Must not exist.

    Raises:
        UsageError: If a file cannot be read or written, holds no token, or the checkpoint has no tokenizer.
    """
    if output.exists():
        raise UsageError(f"--output {output} exists; name a new file.")
    check_output(output)
    tokenizer = tokenizer_of(pretrained, revision)
    counts: Counter[int] = Counter()
    for path in text:
        for piece in _pieces(path):
            counts.update(tokenizer.encode(piece, add_special_tokens=False))
    if not counts:
        raise UsageError("--text must hold at least one token in all, got empty files; name other files.")
    write_frequencies(output, vocabulary_fingerprint(tokenizer, "counting"), counts)
    return f"{counts.total():,} tokens, {len(counts):,} of them different, counted in {output}"


def _pieces(path: Path) -> Iterator[str]:
    try:
        with only_a_file(path).open(encoding="utf-8", newline="") as file:
            while piece := file.read(PIECE):
                yield piece + file.readline(LONGEST_LINE)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "other bytes"
        raise UsageError(f"--text {path} must be a text file in UTF-8, got {reason}; correct it.") from None
