"""Requests that depend on their documents: templates, special tokens in data, cached prompts, other models."""

import json
import logging
from pathlib import Path

import pytest
import yaml
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from lm_eval_mdlm import TASKS_DIR
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.model import MDLM
from tests.harness.conftest import STOCK_LIKE
from tests.harness.running import evaluate


DOCUMENTS = [
    {"question": "One?", "answer": "1", "suffix": "\n    return 1", "n": 3, "parts": ["a", "b"]},
    {"question": "Two?", "answer": "2", "suffix": " {{ not a field }} {%", "n": 5, "parts": ["c"]},
    {"question": "Two?", "answer": "3", "suffix": "", "n": 4, "parts": []},
]


def write_task(folder: Path, documents=DOCUMENTS, **more) -> str:
    (folder / "test.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in documents))
    task = {
        "task": "infill",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "test.jsonl")}},
        **STOCK_LIKE,
        **more,
    }
    (folder / "infill.yaml").write_text(yaml.safe_dump(task))
    return str(folder)


def templated(*segments, **more):
    return {"generation_kwargs": {"until": [], "template": list(segments), **more}}


def lines_of(results, task="infill"):
    return [line for line in results["samples"][task] if line["filter"] == results["samples"][task][0]["filter"]]


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("{{suffix}}", [doc["suffix"] for doc in DOCUMENTS]),
        ("\n{{question}} - {{ n + 1 }}", ["\nOne? - 4", "\nTwo? - 6", "\nTwo? - 5"]),
        ("{% for part in parts %}<{{ part }}>{% endfor %}", ["<a><b>", "<c>", ""]),
        ("{{ suffix | length }}:", ["13:", "21:", "0:"]),
    ],
)
def test_template_is_filled_in_from_each_document(checkpoint, tmp_path, text, fixed):
    tasks = write_task(tmp_path, **templated({"reasoning": 6}, {"text": text}, {"answer": 2}))
    results = evaluate(checkpoint, tasks, ["infill"], gen_length=None)
    for line, expected in zip(lines_of(results), fixed, strict=True):
        asked = line["arguments"][0][1]["template"]
        assert [segment["text"] for segment in asked if "text" in segment] == ([expected] if expected else [])
        assert expected in line["resps"][0][0]
    used = results["config"]["mdlm"]["decoding_by_task"]["infill"]
    kinds = {json.dumps(template) for template in used["template"]["varies"]}
    assert len(kinds) == len(used["template"]["varies"]) == len(set(fixed))
    assert used["block_length"] == 8  # what does not vary stands as it is


def test_documents_of_one_prompt_are_not_served_each_others_text_from_a_cache(checkpoint, tmp_path):
    tasks = write_task(tmp_path, **templated({"reasoning": 6}, {"text": "{{suffix}}"}, {"answer": 2}))
    options = {"gen_length": None, "run_use_cache": str(tmp_path / "cache")}
    first, second = (evaluate(checkpoint, tasks, ["infill"], **options) for _ in range(2))
    assert [line["resps"] for line in lines_of(first)] == [line["resps"] for line in lines_of(second)]
    assert second["config"]["mdlm"]["totals_of_rank_0"]["from_cache"] == 3


@pytest.mark.parametrize("text", ["{{sufix}}", "{{ question.missing.deeper }}", "{{ question", "{{ n | no_filter }}"])
def test_template_that_cannot_be_filled_in_is_refused_in_one_line(checkpoint, tmp_path, text):
    tasks = write_task(tmp_path, **templated({"text": text}, {"answer": 2}))
    with pytest.raises(UsageError, match="infill: template text .* cannot be filled in") as caught:
        evaluate(checkpoint, tasks, ["infill"], gen_length=None)
    assert "\n" not in str(caught.value)


def test_field_of_a_document_on_the_command_line_is_refused(checkpoint, tmp_path):
    tasks = write_task(tmp_path, generation_kwargs={"until": []})
    template = [{"text": "{{suffix}}"}, {"answer": 2}]
    with pytest.raises(UsageError, match="only in a task's YAML"):
        evaluate(checkpoint, tasks, ["infill"], gen_length=None, gen_kwargs={"template": template})
    with pytest.raises(UsageError, match="only in a task's YAML"):
        MDLM(checkpoint, device="cpu", template=template)


PER_DOCUMENT = """
from lm_eval.api.task import ConfigurableTask


class Own(ConfigurableTask):
    def __init__(self, config=None, **kwargs):
        super().__init__(config={k: v for k, v in config.items() if k != "class"}, **kwargs)

    def construct_requests(self, doc, ctx, **kwargs):
        request = super().construct_requests(doc, ctx, **kwargs)
        context, options = request.arguments
        request.arguments = (context, {**options, "gen_length": doc["n"], "until": [doc["answer"]]})
        return request
"""


def test_options_of_any_kind_may_depend_on_the_document_and_are_recorded(checkpoint, tmp_path):
    tasks = write_task(tmp_path, generation_kwargs={"until": []})
    (tmp_path / "own.py").write_text(PER_DOCUMENT)
    path = tmp_path / "infill.yaml"
    path.write_text(path.read_text() + "class: !function own.Own\n")
    results = evaluate(checkpoint, tasks, ["infill"], gen_length=None)
    assert [line["nfe"] for line in lines_of(results)] == [3, 5, 4]
    used = results["config"]["mdlm"]["decoding_by_task"]["infill"]
    assert used["gen_length"] == {"varies": [3, 5, 4]} and used["until"] == {"varies": [["1"], ["2"], ["3"]]}


# Special tokens in data


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING, logger="lm_eval.mdlm")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "lm_eval.mdlm"]


@pytest.mark.parametrize("place", ["start", "middle", "end", "alone", "twice", "template", "chat"])
def test_text_of_the_mask_in_data_never_reaches_the_network_as_a_mask(checkpoint, tmp_path, said, place):
    mask = "<|mdm_mask|>"
    question = {"start": f"{mask} x", "end": f"x {mask}", "alone": mask, "twice": f"{mask}{mask} {mask}"}
    documents = [{"question": question.get(place, f"a {mask} b"), "answer": "1"}, {"question": "plain", "answer": "2"}]
    if place == "template":
        documents[0]["question"] = "plain too"
    more = templated({"text": f" {mask} "}, {"answer": 2}) if place == "template" else templated({"answer": 2})
    tasks = write_task(tmp_path, documents, doc_to_text="{{question}}", **more)
    model = MDLM(checkpoint, device="cpu")
    seen = []
    states = type(model.backbone).states
    with pytest.MonkeyPatch.context() as patch:
        spy = lambda self, ids, *rest: seen.append(ids.tolist()) or states(self, ids, *rest)  # noqa: E731
        patch.setattr(type(model.backbone), "states", spy)
        manager = TaskManager(include_path=tasks, include_defaults=False)
        results = simple_evaluate(
            model=model, tasks=["infill"], task_manager=manager, bootstrap_iters=2, apply_chat_template=place == "chat"
        )
    assert max(ids.count(model.backbone.mask_token_id) for ids in seen) == 2  # those of the answer
    number = 2 if place == "template" else 1
    assert sum(f"the text of the mask token stands in {number} of 2" in line for line in said()) == 1
    assert (mask in results["samples"]["infill"][0]["resps"][0][0]) == (place == "template")


# --cache_requests


@pytest.fixture
def request_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("lm_eval.caching.cache.PATH", str(tmp_path / "requests"))


@pytest.mark.parametrize("change", ["data", "prompt", "samples", "template", "fewshot", "chat"])
def test_cached_prompts_belong_to_these_documents_and_this_configuration(checkpoint, tmp_path, request_cache, change):
    def run(documents=DOCUMENTS, **more):
        options = {name: more.pop(name) for name in list(more) if name.startswith("run_")}
        task = {**templated({"answer": 2}), "fewshot_split": "test", **more}
        tasks = write_task(tmp_path, documents, **task)
        found = evaluate(checkpoint, tasks, ["infill"], gen_length=None, run_cache_requests=True, **options)
        return [(line["doc"]["question"], *line["arguments"][0]) for line in lines_of(found)]

    plain = run()
    assert run() == plain
    others = [{**doc, "question": f"Other {doc['question']}"} for doc in DOCUMENTS]
    changed = {
        "data": lambda: run(others),
        "prompt": lambda: run(doc_to_text="Q {{question}}"),
        "samples": lambda: run(run_samples={"infill": [2]}),
        "template": lambda: run(**templated({"text": "{{suffix}}"}, {"answer": 2})),
        "fewshot": lambda: run(run_num_fewshot=1),
        "chat": lambda: run(run_apply_chat_template=True),
    }[change]()
    assert changed != plain and (change == "samples" or len(changed) == 3)
    for question, context, _ in changed:
        assert question in context
    assert run() == plain


# Our tasks under another package's model


class Recorder(LM):
    """Another package's model, which knows nothing of this one."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def generate_until(self, requests, disable_tqdm=False):
        self.seen += [request.args for request in requests]
        return ["The answer is 1"] * len(requests)

    def loglikelihood(self, requests, disable_tqdm=False):
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


@pytest.mark.parametrize(("task", "length"), [("mdlm_demo", 108), ("mdlm_demo_plain", 116), ("mdlm_demo_puzzle", 12)])
def test_task_of_this_project_runs_under_any_model_at_its_own_length(task, length, caplog):
    model = Recorder()
    manager = TaskManager(include_path=TASKS_DIR, include_defaults=False)
    with caplog.at_level(logging.WARNING, logger="lm_eval.mdlm"):
        for _ in range(2):  # every run is told
            results = simple_evaluate(model=model, tasks=[task], task_manager=manager, limit=2, bootstrap_iters=2)
    assert all(options == {"until": [], "max_gen_toks": length} for _, options in model.seen)
    assert "acc,none" in results["results"][task] and "nfe,none" not in results["results"][task]
    assert sum("have no effect on this model" in r.getMessage() for r in caplog.records) == 2
