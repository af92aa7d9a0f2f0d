"""Training lines of the arms, from the traces given the answers and the samples of an evaluation without them.

Writes gold, posterior, both, rejection, own and answers, `.jsonl` each, into `--out`; the filtered ones are for
`lm-eval-mdlm select` to make.
"""

import argparse
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


DELIMITER = "\nThe answer is \\boxed{"
"""Of the task's template: what stands before it is the reasoning."""
CALCULATOR_MARKS = re.compile(r"<<[^<>]*>>")


def human_solution(doc: Mapping[str, Any]) -> str:
    """GSM8K's own solution without the final answer and the calculator's marks."""
    return " " + CALCULATOR_MARKS.sub("", doc["answer"].rpartition("####")[0]).strip()


def arms_of(posterior: Iterable[dict[str, Any]], own: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, str]]]:
    """Lines of every arm, in the order of the documents; documents that `posterior` left out have none."""
    given = {line["doc_id"]: line for line in posterior}
    samples = {line["doc_id"]: line for line in own}
    both = [(given[number], samples[number]) for number in sorted(given.keys() & samples.keys())]

    def lines(solutions: Sequence[str]) -> list[dict[str, str]]:
        return [
            {"prompt": line["prompt"], "solution": solution, "answer": line["answer"]}
            for (line, _), solution in zip(both, solutions, strict=True)
        ]

    arms = {
        "gold": lines([human_solution(sample["doc"]) for _, sample in both]),
        "posterior": lines([line["solution"] for line, _ in both]),
        "own": lines([sample["resps"][0][0].rpartition(DELIMITER)[0] for _, sample in both]),
        "answers": lines([""] * len(both)),
    }
    hits = [line for line, (_, sample) in zip(arms["own"], both, strict=True) if sample["acc"] == 1]
    return {**arms, "both": [*arms["gold"], *arms["posterior"]], "rejection": hits}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All objects of a file of JSON Lines."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, write, and say how many lines each arm has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posterior", type=Path, required=True, help="file that lm-eval-mdlm posterior wrote")
    parser.add_argument("--own", type=Path, nargs="+", required=True, help="samples of the evaluation at temperature 1")
    parser.add_argument("--out", type=Path, required=True, help="folder for the arms' files")
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    own = [line for path in chosen.own for line in read_lines(path)]
    for name, lines in arms_of(read_lines(chosen.posterior), own).items():
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (chosen.out / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{name}: {len(lines)} lines")


if __name__ == "__main__":
    main()
