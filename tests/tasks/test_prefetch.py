"""A scorer that wants to is told of all documents before the first, with what it will be asked for."""

import pytest
from lm_eval.evaluator import simple_evaluate

from lm_eval_mdlm.scoring import humaneval
from tests.tasks.conftest import FUNCTIONS, Scripted


@pytest.mark.parametrize("task", ["humaneval_mdlm", "humaneval_infill_mdlm"])
def test_programs_of_all_documents_are_begun_before_the_first_is_scored(manager, monkeypatch, task):
    events = []
    scorer = {"humaneval_mdlm": "process_results", "humaneval_infill_mdlm": "process_infill_results"}[task]
    function = getattr(humaneval, scorer)
    begin, verdict = humaneval._EXECUTIONS.begin, humaneval._EXECUTIONS.verdict
    monkeypatch.setattr(humaneval._EXECUTIONS, "begin", lambda checks: events.append(checks) or begin(checks))
    monkeypatch.setattr(humaneval._EXECUTIONS, "verdict", lambda check: events.append(check) or verdict(check))
    assert callable(function.prefetch)
    results = simple_evaluate(
        model=Scripted(lambda name, doc: (doc["canonical_solution"], 3)),
        tasks=[task],
        task_manager=manager,
        bootstrap_iters=2,
        confirm_run_unsafe_code=True,
    )
    begun, *asked = events
    assert begun == asked and len(asked) == len(FUNCTIONS)  # equal checks, so that none is run a second time
    assert results["results"][task]["acc,none"] == 1.0
