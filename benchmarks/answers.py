"""What other scorers say to the same answers: right ones in many forms, and wrong ones.

    python -m benchmarks.answers gsm8k --data FOLDER
    python -m benchmarks.answers math500 --data FOLDER

The other rules are written down here from their descriptions, for comparison only: lm_eval's filters of `gsm8k`;
OpenCompass, a copy of which evaluates LLaDA's instruct models (number: the last one of the text before "Question:",
equal up to 1e-6; formula: the last closed box, else the first sentence with "answer is", compared as strings after the
clean-up of its first version, Hendrycks et al.'s); `math_verify` of lm_eval's `minerva_math500`. Shares are of right
verdicts, in percent.
"""

import argparse
import functools
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

from lm_eval_mdlm.scoring import equivalence, gsm8k

from .answer_forms import NUMBERS, PLACES, gsm8k_forms, surroundings
from .latex_forms import latex_forms


Rule = Callable[[str, dict[str, str]], bool]
Case = tuple[str, str, dict[str, str], bool]
"""Kind of the text, the text, the document, and whether the text is right."""


def last_number_rule(text: str, doc: dict[str, str]) -> bool:
    """OpenCompass on GSM8K."""
    numbers = re.findall(r"-?\d+(?:\.\d+)?", text.partition("Question:")[0])
    gold = doc["answer"].rpartition("#### ")[2].replace(",", "")
    return bool(numbers) and len(numbers[-1]) < 300 and abs(float(numbers[-1]) - int(gold)) < 1e-6


def boxed_string_rule(text: str, doc: dict[str, str]) -> bool:
    """OpenCompass on MATH."""
    answer = _last_closed_box(text)
    if answer is None:
        sentences = text.split(".")
        answer = next((s for s in sentences if re.search("final answer|answer is", s.lower())), sentences[0])
    return _cleaned(answer) == _cleaned(doc["answer"])


def _last_closed_box(text: str) -> str | None:
    start = max(text.rfind(r"\boxed{"), text.rfind(r"\fbox{"))
    if start < 0:
        return None
    depth = 0
    for place in range(text.index("{", start), len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            inside = text[text.index("{", start) + 1 : place]
            return inside[1:-1] if inside.startswith("{") and inside.endswith("}") else inside
    return None


def _cleaned(latex: str) -> str:
    latex = latex.replace("\n", "").replace("\\!", "").replace("tfrac", "frac").replace("dfrac", "frac")
    latex = re.sub(r"\\left|\\right|\^\{?\\circ\}?|\\\$|\\?%", "", latex).partition("\\text{ ")[0]
    latex = re.sub(r"^\.|(?<=[ {])\.", "0.", latex)
    left, equals, right = latex.partition("=")
    latex = right if equals and len(left) <= 2 and "=" not in right else latex
    latex = re.sub(r"\\sqrt(\w)", r"\\sqrt{\1}", latex).replace(" ", "")
    latex = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", latex)
    latex = re.sub(r"\\frac(\d)\{", r"\\frac{\1}{", latex)
    latex = re.sub(r"^(\d+)/(\d+)$", r"\\frac{\1}{\2}", latex)
    return "\\frac{1}{2}" if latex == "0.5" else latex


@functools.lru_cache(maxsize=1)  # three rules ask for the same text in turn
def _gsm8k(text: str, answer: str) -> dict[str, float]:
    return gsm8k.process_results({"answer": answer}, [text])


RULES: dict[str, dict[str, Rule]] = {
    "gsm8k": {
        "ours": lambda text, doc: _gsm8k(text, doc["answer"])["acc"] == 1.0,
        "strict-match": lambda text, doc: _gsm8k(text, doc["answer"])["exact_match_strict"] == 1.0,
        "flexible-extract": lambda text, doc: _gsm8k(text, doc["answer"])["exact_match_flexible"] == 1.0,
        "OpenCompass": last_number_rule,
    },
    "math500": {
        "ours": lambda text, doc: equivalence.is_correct(text, doc["answer"]),
        "math_verify": lambda text, doc: equivalence.stock_match(text, doc["solution"]),
        "OpenCompass": boxed_string_rule,
    },
}


def gsm8k_cases(docs: list[dict[str, str]]) -> Iterator[Case]:
    """Right answers by place, and wrong ones by what surrounds the reference's number."""
    kinds = {f"{number} / {place}": place for number in NUMBERS for place in PLACES}
    for seed, doc in enumerate(docs):
        gold = gsm8k.gold_number(doc["answer"])
        assert gold is not None
        plain = {"question": "", "answer": f"#### {gold}"}
        for name, form in gsm8k_forms():
            yield f"right: {kinds.get(name, 'whole texts')}", form(str(gold)), plain, True
        for kind, text, value in surroundings(str(gold), random.Random(seed)):
            if value != gold:
                yield f"wrong: {kind}", f"#### {text}", plain, False


def math500_cases(docs: list[dict[str, str]]) -> Iterator[Case]:
    """Right answers by form, and references of other problems."""
    rng = random.Random(0)
    for doc in docs:
        for name, form in latex_forms():
            yield f"right: {name}", form(doc["answer"]), doc, True
        for other in rng.sample(docs, 8):
            if other["answer"] != doc["answer"]:
                yield "wrong: another reference", f"$\\boxed{{{other['answer']}}}$", doc, False


CASES: dict[str, Callable[[list[dict[str, str]]], Iterator[Case]]] = {"gsm8k": gsm8k_cases, "math500": math500_cases}


def counted(cases: Iterable[Case], rules: dict[str, Rule]) -> tuple[Counter[str], dict[str, Counter[str]]]:
    """How many texts of a kind there are, and how many verdicts of each rule are right."""
    total: Counter[str] = Counter()
    right: dict[str, Counter[str]] = {name: Counter() for name in rules}
    for kind, text, doc, expected in cases:
        total[kind] += 1
        for name, rule in rules.items():
            right[name][kind] += rule(text, doc) == expected
    return total, right


def table(total: Counter[str], right: dict[str, Counter[str]]) -> str:
    """Markdown: share of right verdicts in percent, by kind and rule."""
    lines = [f"| texts | number | {' | '.join(right)} |", "|---" * (len(right) + 2) + "|"]
    for kind, number in total.items():
        shares = (f"{float(Fraction(100 * counts[kind], number)):.1f}" for counts in right.values())
        lines.append(f"| {kind} | {number} | {' | '.join(shares)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Print the table of one benchmark."""
    parser = argparse.ArgumentParser(description="right verdicts of several scorers on the same answers, in percent")
    parser.add_argument("benchmark", choices=sorted(RULES))
    parser.add_argument("--data", required=True, type=Path, help="folder with gsm8k_test.jsonl or math500_test.jsonl")
    parser.add_argument("--every", type=int, default=1, help="take every n-th problem only")
    options = parser.parse_args(arguments)
    lines = (options.data / f"{options.benchmark}_test.jsonl").read_text(encoding="utf-8").splitlines()
    docs = [json.loads(line) for line in lines][:: options.every]
    print(table(*counted(CASES[options.benchmark](docs), RULES[options.benchmark])))


if __name__ == "__main__":
    main()
