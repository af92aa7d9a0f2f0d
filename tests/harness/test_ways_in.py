"""The ways by which a program, rather than the command line, gets to an evaluation: every one is counted and undone."""

import logging
import random
import threading
from typing import Any

import pytest
from lm_eval import evaluator
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM, CachingLM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from tests.harness import any_tasks
from tests.harness.any_tasks import TASK, script
from tests.harness.plain import Plain, Scripted, differences, scores, scripting, without_counts


@pytest.fixture(autouse=True)
def no_decoding():
    with scripting():
        yield


@pytest.fixture
def model(checkpoint):
    made = Scripted(checkpoint, device="cpu", gen_length=8, block_length=8)
    made.script = script
    return made


@pytest.fixture
def manager():
    return TaskManager(include_defaults=False)


def objects(manager, *tasks: Any) -> list[Any]:
    """Task objects as `simple_evaluate` prepares them."""
    made = [task for one in tasks or (TASK,) for task in manager.load([dict(one)])["tasks"].values()]
    for task in made:
        task.set_config("num_fewshot", 0)
        task.set_fewshot_seed(0)
    return made


def check(results, expected, nfe: float | None = 5.0) -> None:
    assert not list(differences(without_counts(results, expected), scores(expected)))
    (name,) = results["n-samples"]
    assert results["results"][name].get("nfe,none") == nfe


def test_task_may_come_as_a_dictionary_or_an_object_and_by_position(model, manager):
    expected = simple_evaluate(Plain(script), tasks=[dict(TASK)], task_manager=manager, bootstrap_iters=0)
    check(simple_evaluate(model, tasks=[dict(TASK)], task_manager=manager, bootstrap_iters=0), expected)
    check(simple_evaluate(model, None, objects(manager), task_manager=manager, bootstrap_iters=0), expected)
    (task,) = objects(manager)
    check(evaluator.evaluate(model, {"tasks": {"pens": task}}, bootstrap_iters=0), expected)
    check(evaluator.evaluate(model, {"pens": task}, bootstrap_iters=0), expected)


def test_old_nested_dictionary_is_read_whatever_its_tasks_are_called(model, manager):
    for name in ("groups", "tasks_of_mine"):
        (task,) = objects(manager, {**TASK, "task": name})
        found = evaluator.evaluate(model, {name: task}, bootstrap_iters=0)
        check(found, evaluator.evaluate(Plain(script), {name: task}, bootstrap_iters=0))


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 0.4},
        {"limit": 2},
        {"samples": {"pens": [3, 1]}},
        {"write_out": True},
        {"log_samples": False},
        {"bootstrap_iters": 2},
        {"predict_only": True},
        {"num_fewshot": 1},
        {"system_instruction": "Be short.", "apply_chat_template": True},
    ],
    ids=str,
)
def test_options_of_the_harness_score_as_with_a_plain_model(model, manager, options):
    class Chatting(Plain):
        tokenizer_name = "any"

        def apply_chat_template(self, chat_history, add_generation_prompt=True):
            return model.apply_chat_template(chat_history, add_generation_prompt)

    options = {"bootstrap_iters": 0, "task_manager": manager, **options}
    task = {**TASK, "fewshot_split": "train"}
    expected = simple_evaluate(Chatting(script), tasks=[dict(task)], **options)
    found = simple_evaluate(model, tasks=[dict(task)], **options)
    assert not list(differences(without_counts(found, expected), scores(expected)))
    assert "nfe,none" in found["results"]["pens"]


def test_task_that_shuffles_at_every_look_is_shuffled_as_for_a_plain_model(model, manager):
    task = {**TASK, "process_docs": lambda docs: docs.shuffle(seed=random.randrange(1 << 30))}
    options = {"task_manager": manager, "bootstrap_iters": 0}
    expected = simple_evaluate(Plain(script), tasks=[dict(task)], **options)
    found = simple_evaluate(model, tasks=[dict(task)], **options)
    assert not list(differences(without_counts(found, expected), scores(expected)))


def test_same_objects_serve_other_models_in_between(model, manager):
    (task,) = tasks = objects(manager, {**TASK, "class": any_tasks.OwnFilters})
    before = type(task)
    options = {"task_manager": manager, "bootstrap_iters": 0}
    expected = simple_evaluate(Plain(script), tasks=tasks, **options)
    for _ in range(2):
        check(simple_evaluate(model, tasks=tasks, **options), expected)
        again = simple_evaluate(Plain(script), tasks=tasks, **options)
        assert not list(differences(scores(again), scores(expected)))
        assert type(task) is before


def test_error_of_a_task_leaves_nothing_behind(model, manager):
    class Failing(any_tasks.OwnResults):
        def process_results(self, doc, results):
            raise ZeroDivisionError("mine")

    (task,) = tasks = objects(manager, {**TASK, "class": Failing})
    with pytest.raises(ZeroDivisionError, match="mine"):
        evaluator.evaluate(model, {"pens": task})
    assert type(task) is Failing and not [name for name in vars(task) if name.startswith("mdlm")]
    expected = simple_evaluate(Plain(script), tasks=objects(manager), task_manager=manager, bootstrap_iters=0)
    check(simple_evaluate(model, tasks=objects(manager), task_manager=manager, bootstrap_iters=0), expected)
    assert tasks


class Judged(any_tasks.OwnResults):
    """Asks a model about each answer, in an evaluation of its own or directly."""

    ask: Any = None

    def process_results(self, doc: Any, results: Any) -> dict[str, Any]:
        return {"judged": self.ask(doc), **super().process_results(doc, results)}


def test_evaluation_within_an_evaluation_has_a_record_of_its_own(model, manager, monkeypatch):
    records = []

    def ask(self, doc):
        options = {"limit": 1, "task_manager": manager, "bootstrap_iters": 0}
        inner = simple_evaluate(model, tasks=[{**TASK, "task": "inner"}], **options)
        records.append(inner["config"]["mdlm"])
        return inner["results"]["inner"]["nfe,none"]

    monkeypatch.setattr(Judged, "ask", ask)
    outer = simple_evaluate(model, tasks=[{**TASK, "class": Judged}], task_manager=manager, bootstrap_iters=0)
    assert outer["results"]["pens"]["judged,none"] == 3.0 and outer["results"]["pens"]["nfe,none"] == 5.0
    assert [set(record["decoding_by_task"]) for record in records] == [{"inner"}] * 5
    assert [record["totals_of_rank_0"]["nfe"] for record in records] == [3] * 5
    record = outer["config"]["mdlm"]
    assert set(record["decoding_by_task"]) == {"pens"} and record["totals_of_rank_0"]["requests"] == 5


def test_second_round_of_requests_after_an_inner_evaluation_belongs_to_the_outer(model, manager, monkeypatch):
    def ask(self, doc):
        simple_evaluate(model, tasks=[{**TASK, "task": "inner"}], limit=1, task_manager=manager, bootstrap_iters=0)
        request = Instance("generate_until", doc, ("Right?", {"until": []}), 0, ("judge", 0, 1))
        return float(len(model.generate_until([request])[0]))

    monkeypatch.setattr(Judged, "ask", ask)
    outer = simple_evaluate(model, tasks=[{**TASK, "class": Judged}], task_manager=manager, bootstrap_iters=0)
    assert set(outer["config"]["mdlm"]["decoding_by_task"]) == {"pens", "judge"}


class Delegating(LM):
    """A user's wrapper, which passes on all that it does not know."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> Any:
        return self.inner.generate_until(requests)

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


class InAThread(Delegating):
    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> Any:
        answers = []
        thread = threading.Thread(target=lambda: answers.extend(self.inner.generate_until(requests)))
        thread.start()
        thread.join()
        return answers


@pytest.mark.parametrize("wrapper", [Delegating, InAThread, lambda lm: Delegating(Delegating(lm))])
def test_wrapper_that_delegates_is_counted(model, manager, wrapper):
    expected = simple_evaluate(Plain(script), tasks=objects(manager), task_manager=manager, bootstrap_iters=0)
    found = simple_evaluate(wrapper(model), tasks=objects(manager), task_manager=manager, bootstrap_iters=0)
    check(found, expected)
    assert found["config"]["mdlm"]["totals_of_rank_0"]["requests"] == 5


def test_wrapper_is_seen_without_looking_into_its_class():
    from lm_eval_mdlm.harness.evaluation import watches

    class Inner:
        def evaluation(self, started: Any) -> None:
            pass

    assert watches(Inner()) and watches(Delegating(Inner())) and not watches(Plain(script))


def test_cache_made_by_hand_serves_a_second_run_with_its_counts(model, manager, tmp_path):
    expected = simple_evaluate(Plain(script), tasks=objects(manager), task_manager=manager, bootstrap_iters=0)
    cached = CachingLM(model, str(tmp_path / "c.db"))
    for _ in range(2):
        check(evaluator.evaluate(cached, {"tasks": {"pens": objects(manager)[0]}}, bootstrap_iters=0), expected)
    assert model.num_decoded == 5


def test_two_threads_with_a_model_each_keep_their_counts_apart(checkpoint, manager):
    found: dict[int, Any] = {}

    def evaluate(factor: int) -> None:
        (task,) = objects(manager)
        lm = Scripted(checkpoint, device="cpu", gen_length=8, block_length=8)
        lm.script = lambda doc, key: ("two", factor * (3 + key[1]))
        found[factor] = evaluator.evaluate(lm, {"tasks": {"pens": task}}, bootstrap_iters=0)

    threads = [threading.Thread(target=evaluate, args=(factor,)) for factor in (1, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {factor: results["results"]["pens"]["nfe,none"] for factor, results in found.items()} == {1: 5.0, 10: 50.0}


def test_metric_that_leaves_documents_out_keeps_its_weight_and_a_line_says_so(model, manager, caplog):
    caplog.set_level(logging.WARNING, logger="lm_eval.mdlm")
    task = {
        **TASK,
        "process_results": any_tasks.process_by_kind,
        "metric_list": [{"metric": name, "aggregation": "mean"} for name in ("hit", "truncated")],
    }
    expected = simple_evaluate(Plain(script), tasks=[dict(task)], task_manager=manager, bootstrap_iters=0)
    found = simple_evaluate(model, tasks=[dict(task)], task_manager=manager, bootstrap_iters=0)
    assert not list(differences(without_counts(found, expected), scores(expected)))
    assert found["n-samples"] == expected["n-samples"] and "nfe,none" in found["results"]["pens"]
    assert [line["nfe"] for line in found["samples"]["pens"]] == [3, 4, 5, 6, 7]
    assert sum("leave documents out" in record.getMessage() for record in caplog.records) == 1
