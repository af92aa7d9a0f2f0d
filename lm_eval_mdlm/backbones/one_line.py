"""What an error of a library says, for a line of ours."""


def in_one_line(error: Exception) -> str:
    """Kind and text of an error, for a message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
