"""What the page's sample browser reads: texts once each, and for every problem what each run made of it."""

from collections.abc import Sequence
from typing import Any

from .boards import Board, Cell
from .replays import Replays, folder_of, names_recording
from .samples import Sample
from .texts import Texts


def browser_data(boards: Sequence[tuple[Board, str, str]], most_characters: int, replays: Replays) -> dict[str, Any]:
    """Plain values for the page's script.

    Problems on which runs disagree come first, so that where the texts of all are too long for the page those of least
    interest are left out; `left_out` of a board counts them.

    Args:
        boards: With or without samples; with each the two methods that are shown first.
        most_characters: Of all texts together; shared evenly by the boards.
        replays: Takes the recorded decodings of the problems that come first.
    """
    texts = Texts()
    found = []
    for place, (board, *first) in enumerate(boards, 1):
        cells = [cell for cell in board.cells if cell.outcomes.samples]
        if cells:
            own = _board(board, cells, texts, most_characters * place // len(boards), replays)
            found.append(own | {"first": [_place(cells, method) for method in first]})
    return {
        "texts": list(texts.numbers),
        "boards": found,
        "pieces": list(replays.pieces.numbers),
        "replays": replays.rows,
    }


def _board(board: Board, cells: Sequence[Cell], texts: Texts, most_characters: int, replays: Replays) -> dict[str, Any]:
    by_cell = [{one.key: one for one in cell.outcomes.samples} for cell in cells]
    keys = list(dict.fromkeys(key for known in by_cell for key in known))
    kept = {}
    for key in sorted(keys, key=lambda key: not _disagree(key, by_cell, board.metric)):  # stable
        if texts.size >= most_characters:
            break
        kept[key] = [_row(known.get(key), board.metric, texts) for known in by_cell]
    replayed = _replayed(board, cells, [[known.get(key) for known in by_cell] for key in kept], replays)
    for key, numbers in zip(kept, replayed, strict=False):
        kept[key] = [row and [*row, number] for row, number in zip(kept[key], numbers, strict=True)]
    targets = {key: next(known[key].target for known in by_cell if key in known) for key in kept}
    return {
        "name": board.name,
        "runs": [_label(cell, board) for cell in cells],
        "higher": board.higher_is_better,
        "problems": [
            {"number": number, "target": texts.number_of(targets[key]), "rows": kept[key]}
            for number, key in enumerate(keys, 1)
            if key in kept
        ],
        "left_out": len(keys) - len(kept),
        "replayed": sum(any(number is not None for number in numbers) for numbers in replayed),
        "unfound": sum(names_recording(cell.run) and folder_of(cell.run) is None for cell in cells),
    }


def _replayed(
    board: Board, cells: Sequence[Cell], problems: Sequence[Sequence[Sample | None]], replays: Replays
) -> list[list[int | None]]:
    """For the first problems, as many as there is room for, and each cell: the number of the row's replay."""
    recorded = [folder_of(cell.run) is not None for cell in cells]
    room = max(replays.most_rows // sum(recorded), min(replays.most_rows, 1)) if any(recorded) else 0
    shown = problems[:room]
    columns: list[list[int | None]] = []
    for place, cell in enumerate(cells):
        own = [problem[place] if recorded[place] else None for problem in shown]
        passes = {one.doc_id: one.numbers.get("nfe") for one in own if one is not None and one.doc_id is not None}
        numbers = replays.numbers_of(cell.run, board.task, passes)
        columns.append([numbers.get(one.doc_id) if one is not None and one.doc_id is not None else None for one in own])
    return [list(numbers) for numbers in zip(*columns, strict=True)]


def _place(cells: Sequence[Cell], method: str) -> int:
    """Of the method's first run; 0 if it has none with samples."""
    return next((place for place, cell in enumerate(cells) if cell.method == method), 0)


def _disagree(key: tuple[str, int], by_cell: Sequence[dict[tuple[str, int], Sample]], metric: str) -> bool:
    return len({known[key].numbers.get(metric) for known in by_cell if key in known}) > 1


def _row(sample: Sample | None, metric: str, texts: Texts) -> list[Any] | None:
    """Score, passes, and the numbers of reading, text and question; a replay's may follow."""
    if sample is None:
        return None
    numbers = (sample.numbers.get(metric), sample.numbers.get("nfe"))
    parts = ("\n".join(sample.readings), "\n\n".join(sample.texts), sample.question)
    return [*numbers, *map(texts.number_of, parts)]


def _label(cell: Cell, board: Board) -> str:
    draws = [cell.method]
    draws += [f"prompt {cell.prompt}"] if len(board.prompts) > 1 else []
    alike = [other for other in board.of(cell.method, cell.prompt) if other.outcomes.samples]
    return ", ".join(draws + ([f"seed {cell.seed}"] if len(alike) > 1 else []))


def changed(board: Board, first: str, second: str, most: int) -> list[tuple[str, Sample, Sample]]:
    """The first problems whose score differs between two methods' first common runs, with the better one's name."""
    prompts = [cell.prompt for cell in board.of(second) if cell.outcomes.samples]
    ours = next((cell for cell in board.of(first) if cell.prompt in prompts), None)
    if ours is None:
        return []
    theirs = next(cell for cell in board.of(second, ours.prompt) if cell.outcomes.samples)
    others = {one.key: one for one in theirs.outcomes.samples}
    found = []
    for one in ours.outcomes.samples:
        other = others.get(one.key)
        scores = [sample.numbers.get(board.metric) for sample in (one, other) if sample]
        if other is not None and None not in scores and scores[0] != scores[1]:
            is_ours = (scores[0] > scores[1]) == board.higher_is_better  # type: ignore[operator]
            found.append((first if is_ours else second, one, other))
    return found[:most]
