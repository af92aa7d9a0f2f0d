"""Documents and YAML tasks: templates filled in, texts scored and tasks loaded, or refused in one line."""

from types import SimpleNamespace

import pytest
import yaml
from hypothesis import strategies as st
from lm_eval.tasks import TaskManager

from lm_eval_mdlm.canvas.template import Template
from lm_eval_mdlm.harness.doctor.asking import TaskSettings, loaded
from lm_eval_mdlm.harness.documents import fill_in_documents
from lm_eval_mdlm.harness.gold import gold_answer
from lm_eval_mdlm.harness.prompts import Prompting
from lm_eval_mdlm.scoring.boxed import last_boxed
from lm_eval_mdlm.scoring.equations import arithmetic_is_right
from lm_eval_mdlm.scoring.gsm8k import extract_number, gold_number
from tests.fuzz.inputs import PLAIN, changed, fuzz, sizes, told
from tests.harness.conftest import STOCK_LIKE


DOC = {"question": "How many?", "answer": 4, "more": {"a": [1, 2]}, "text": "{{ 7 * 7 }}"}
FIELDS = st.sampled_from(
    [
        *("{{ question }}", "{{ answer + 1 }}", "{{ more.a[5] }}", "{{ more.b.c }}", "{{ nothing }}"),
        *("{{ answer / 0 }}", "{{ question | int }}", "{{ answer | join }}", "{% for x in answer %}{% endfor %}"),
        *("{{", "{% x %}", "{{ text }}", "{{ answer.__class__ }}", "{{ 1 | nothing }}", "{{ more[answer] }}", "plain"),
        *("{{ range(3) | list }}", "{{ question ~ none }}", "{{ undefined() }}", "{{ question() }}", "{{ -question }}"),
    ]
)
"""Texts of a task's YAML, some of which no document can fill in."""


class Task:
    """As much of a task as is asked for its documents' options."""

    def __init__(self, template, metadata, target, doc):
        self.config = SimpleNamespace(task="pens")
        self._metadata, self._target = metadata, target
        arguments = ("context", {"template": template, "until": []})
        self.instances = [SimpleNamespace(request_type="generate_until", doc=doc, arguments=arguments)]

    def get_config(self, name):
        return self._metadata

    def doc_to_target(self, doc):
        return self._target


@sizes(250, 10_000)
def test_templates_are_filled_in_from_any_document_or_refused(number):
    def check(text, gold, doc, target):
        metadata = None if gold is None else {"gold_answer": gold}
        task = Task([{"reasoning": 2}, {"text": text}, {"answer": 1}], metadata, target, doc)
        told(lambda: fill_in_documents(task, {}))
        answer = told(lambda: gold_answer(task, doc))
        assert answer is None or answer.strip()
        told(lambda: Template.parse(task.instances[0].arguments[1]["template"]))

    docs = changed(DOC).filter(lambda own: isinstance(own, dict))
    fuzz(number, check, FIELDS | st.text(max_size=12), st.none() | FIELDS, docs, PLAIN)


PIECES = st.sampled_from(
    [
        "\\boxed{",
        "}",
        "{",
        "1",
        "+",
        "=",
        "12",
        "*",
        "-",
        "/",
        "^",
        "\\frac",
        "(",
        ")",
        ".",
        ",",
        "%",
        "$",
        " ",
        "\n",
        "é",
    ]
)


@sizes(300, 12_000)
def test_any_text_is_read_by_the_scorers(number):
    def check(pieces):
        text = "".join(pieces)
        assert arithmetic_is_right(text) in (True, False, None)
        boxed = last_boxed(text)
        assert boxed is None or boxed in text
        extract_number(text, text), gold_number(text)

    fuzz(number, check, st.lists(PIECES | st.text(max_size=3), max_size=30))


TASK = {
    "task": "fuzzed",
    "dataset_path": "json",
    **STOCK_LIKE,
    "generation_kwargs": {"until": ["Q:"], "template": [{"reasoning": 2}, {"text": "{{ question }}"}, {"answer": 1}]},
}


@pytest.mark.filterwarnings("ignore")
@sizes(10, 600)
def test_a_task_of_others_is_loaded_or_refused_in_one_line(number, tmp_path):
    (tmp_path / "test.jsonl").write_text('{"question": "How many?", "answer": "4"}\n' * 2)
    path = tmp_path / "fuzzed.yaml"
    whole = {**TASK, "dataset_kwargs": {"data_files": {"test": str(tmp_path / "test.jsonl")}}}
    prompting = Prompting(gen_kwargs={})
    settings = TaskSettings(prompting=prompting, limit=1, num_fewshot=None, runs_unsafe_code=False)

    def check(content):
        path.write_bytes(content)
        manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
        told(lambda: loaded(manager, "fuzzed", settings), lines=True)

    def text(value):
        try:
            return yaml.safe_dump(value).encode("utf-8", errors="replace")
        except (yaml.YAMLError, ValueError):
            return b"task: fuzzed\n"

    fuzz(number, check, changed(whole).map(text) | st.just(text(whole)))
