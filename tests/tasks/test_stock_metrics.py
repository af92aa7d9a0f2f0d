"""The stock tasks' own metrics, as our tasks report them, against lm_eval's own code on the same texts."""

from pathlib import Path

import lm_eval.tasks
import yaml
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters.extraction import RegexFilter
from lm_eval.tasks.minerva_math import utils as minerva

from benchmarks.answer_forms import gsm8k_forms
from benchmarks.hostile_texts import hostile_texts
from benchmarks.latex_forms import latex_forms
from lm_eval_mdlm.scoring import gsm8k, math500


STOCK = Path(lm_eval.tasks.__file__).parent
ODD = [
    *("#### 1450.", "#### 1450.\n", "1450\n", "it is 1450.", "$1,450", "-1450", "#### 1 #### 1450", "#### ,,,1450"),
    *("#### 1450 apples", "####1450", "1450 #### ", "#### -", "so 1,450.00", ""),
]


def stock_gsm8k(text: str, answer: str) -> tuple[float, ...]:
    """exact_match under both filters, by lm_eval's functions and its YAML."""
    config = yaml.safe_load((STOCK / "gsm8k" / "gsm8k.yaml").read_text())
    (metric,) = config["metric_list"]
    options = {name: metric[name] for name in ("regexes_to_ignore", "ignore_case", "ignore_punctuation")}
    found = []
    for pipeline in config["filter_list"]:
        first = {key: value for key, value in pipeline["filter"][0].items() if key != "function"}
        ((extracted,),) = RegexFilter(**first).apply([[text]], [{}])
        found.append(float(exact_match_hf_evaluate([extracted], [answer], **options)["exact_match"]))
    return tuple(found)


def test_gsm8k_exact_matches_are_those_of_the_stock_task():
    answer = "First 7 #3.\n#### 1,450"
    texts = [form("1450") for _, form in gsm8k_forms()] + ODD
    texts += [text for text in hostile_texts(300, seed=3) if not {"\ud800", "\0"} & {*text}]  # numpy cannot hold these
    ours = []
    for text in texts:
        metrics = gsm8k.process_results({"question": "How many?", "answer": answer}, [text])
        ours.append((metrics["exact_match_strict"], metrics["exact_match_flexible"]))
    assert ours == [stock_gsm8k(text, answer) for text in texts]
    assert 10 < sum(strict for strict, _ in ours) < sum(flexible for _, flexible in ours) < len(texts)


def test_math_verify_is_that_of_the_stock_task():
    document = {"problem": "?", "answer": r"\frac{1}{2}", "solution": r"It is $\frac12$, so $\boxed{\frac{1}{2}}$."}
    texts = [form(r"\frac{1}{2}") for _, form in latex_forms()] + [form("3") for _, form in latex_forms()][:5]
    texts += ["so $0.5$", "Final Answer: The final answer is $1/2$. I hope it is correct.", "1/2", "50%", ""]
    ours = [math500.process_results(document, [text])["math_verify"] for text in texts]
    assert ours == [float(minerva.process_results(document, [text])["math_verify"]) for text in texts]
    assert 0 < sum(ours) < len(texts)
