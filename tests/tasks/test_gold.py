"""The three benchmarks end to end: reference solutions score 1, wrong ones 0, at exactly the predicted NFE."""

import gzip
import json
from pathlib import Path

import pytest
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from lm_eval_mdlm import TASKS_DIR, load_backbone
from tests.tasks.gold import Gold, GoldBackbone, expected_nfe
from tests.tiny import make_checkpoint


SHARED = Path(__file__).parents[3] / "shared" / "data"
TASKS = ["gsm8k_mdlm", "math500_mdlm", "humaneval_mdlm"]
DOCUMENTS = 5
"""Of each task; the tests of scoring have the references of all."""
GSM8K = [
    {"question": "Tom has 3 bags of 6 nuts. How many nuts?", "answer": "3 * 6 = <<3*6=18>>18 nuts.\n#### 18"},
    {"question": "A car costs $2,500 less than $10,000. Price?", "answer": "10000 - 2500 = 7500.\n#### 7,500"},
]
MATH = [
    {"problem": "Compute $1/2+1/3$.", "solution": "It is $\\boxed{\\frac{5}{6}}$.", "answer": "\\frac{5}{6}"},
    {"problem": "Solve $x^2=4$, $x>0$.", "solution": "So $x=\\boxed{2}$.", "answer": "2"},
]
HUMANEVAL = [
    {
        "task_id": "own/0",
        "prompt": 'def add(a: int, b: int) -> int:\n    """Sum of two numbers."""\n',
        "canonical_solution": "    return a + b\n",
        "test": "def check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate(-1, 1) == 0\n",
        "entry_point": "add",
    },
    {
        "task_id": "own/1",
        "prompt": 'def first(items: list) -> object:\n    """First item, or None."""\n',
        "canonical_solution": "    if not items:\n        return None\n    return items[0]\n",
        "test": "def check(candidate):\n    assert candidate([7, 8]) == 7\n    assert candidate([]) is None\n",
        "entry_point": "first",
    },
]


def lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(params=["own", "benchmark"])
def data_dir(request, tmp_path) -> Path:
    if request.param == "benchmark":
        if not SHARED.is_dir():
            pytest.skip("benchmark data are not at ../shared/data")
        return SHARED
    for split in ("train", "test"):
        (tmp_path / f"gsm8k_{split}.jsonl").write_text(lines(GSM8K))
    (tmp_path / "math500_test.jsonl").write_text(lines(MATH))
    with gzip.open(tmp_path / "HumanEval.jsonl.gz", "wt") as file:
        file.write(lines(HUMANEVAL))
    return tmp_path


def golds(data_dir: Path, limit: int) -> list[Gold]:
    """References in the prompts of the tasks, from the files themselves."""

    def read(name: str) -> list[dict]:
        raw = (data_dir / name).read_bytes()
        text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()
        return [json.loads(line) for line in text.splitlines()][:limit]

    return [
        *(Gold(f"Question: {d['question']}\nAnswer:", d["answer"], d["answer"].split("####")[1] + "}")
          for d in read("gsm8k_test.jsonl")),
        *(Gold(f"Problem:\n{d['problem']}\n\nSolution:", d["solution"], d["answer"] + "}")
          for d in read("math500_test.jsonl")),
        *(Gold(d["prompt"], d["canonical_solution"]) for d in read("HumanEval.jsonl.gz")),
    ]  # fmt: skip


@pytest.fixture
def run(data_dir, tmp_path, monkeypatch):
    """A function that evaluates all three tasks with a gold backbone, perhaps spoilt."""
    real = load_backbone(str(make_checkpoint(tmp_path / "tiny", "llada")), device="cpu")

    def evaluate(spoil=lambda gold: gold, **options):
        backbone = GoldBackbone(real, [spoil(gold) for gold in golds(data_dir, DOCUMENTS)])
        monkeypatch.setattr("lm_eval_mdlm.harness.model.load_backbone", lambda **_: backbone)
        results = simple_evaluate(
            model="mdlm",
            model_args={"pretrained": "gold", **options},
            tasks=TASKS,
            task_manager=TaskManager(
                include_path=TASKS_DIR, include_defaults=False, metadata={"data_dir": str(data_dir)}
            ),
            limit=DOCUMENTS,
            batch_size=8,
            device="cpu",
            confirm_run_unsafe_code=True,
            gen_kwargs={"until": []},
            bootstrap_iters=2,
        )
        return backbone, results["results"]

    return evaluate


@pytest.mark.parametrize(("options", "k"), [({"sampler": "med"}, None), ({"sampler": "fixed_k", "k": 4}, 4)], ids=str)
def test_reference_solutions_score_one_at_the_predicted_nfe(run, options, k):
    backbone, found = run(gen_length=900, **options)  # byte-level tokens: reference programs need that many
    for task in TASKS:
        template = {"template": TEMPLATES[task]} if task in TEMPLATES else {}
        assert found[task]["acc,none"] == 1.0, task
        assert found[task]["nfe,none"] == expected_nfe(backbone, {"gen_length": 900, **template}, k), task
        assert found[task]["nfe_stderr,none"] == 0.0


TEMPLATES = {
    "gsm8k_mdlm": [{"reasoning": 246}, {"text": "\nThe answer is \\boxed{"}, {"answer": 10}],
    "math500_mdlm": [{"reasoning": 224}, {"text": "\nThe answer is \\boxed{"}, {"answer": 32}],
}


def test_early_exit_gives_the_same_accuracy_in_one_pass(run, monkeypatch):
    monkeypatch.setattr("tests.tasks.test_gold.TASKS", TASKS[:2])
    _, found = run(sampler="med", exit_threshold=0.1)
    for task in TASKS[:2]:
        assert (found[task]["acc,none"], found[task]["nfe,none"], found[task]["early_exit,none"]) == (1.0, 1.0, 1.0)


def test_wrong_solutions_score_zero(run):
    def spoil(gold: Gold) -> Gold:
        return Gold(gold.prompt, "    raise ValueError\n" if "def " in gold.prompt else gold.solution, "123456}")

    _, found = run(spoil, gen_length=600, sampler="med")
    assert [found[task]["acc,none"] for task in TASKS] == [0.0, 0.0, 0.0]
