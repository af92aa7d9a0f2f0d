"""Tasks that ask for texts and for likelihoods about the same document."""

from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from tests.harness import any_tasks
from tests.harness.any_tasks import TASK, script
from tests.harness.plain import Plain, Scripted, differences, score_of, scores, scripting, without_counts


@pytest.fixture
def manager():
    return TaskManager(include_defaults=False)


@pytest.fixture
def model(checkpoint):
    with scripting():
        made = Scripted(checkpoint, device="cpu", gen_length=8, block_length=8)
        made.script = script
        yield made


class AlsoLikelihoods(any_tasks.OwnResults):
    """As lm_eval's `squadv2`: its output type does not tell that it scores continuations too."""

    OUTPUT_TYPE = None

    def construct_requests(self, doc: Any, ctx: Any, **kwargs: Any) -> Any:
        first = super().construct_requests(doc, ctx, **kwargs)
        texts = (" unanswerable", f" {doc['text_answer']}")
        return [first, *(Instance("loglikelihood", doc, (ctx, text), 1, first.metadata) for text in texts)]

    def process_results(self, doc: Any, results: Any) -> dict[str, Any]:
        text, no, yes = results
        return {
            "better": float(yes[0] > no[0]),
            "greedy": float(yes[1]),
            "length": float(len(any_tasks.first_text(text))),
        }

    def aggregation(self) -> dict[str, Any]:
        return dict.fromkeys(("better", "greedy", "length"), mean)

    def higher_is_better(self) -> dict[str, Any]:
        return dict.fromkeys(("better", "greedy", "length"), True)


@pytest.mark.parametrize("use_cache", [False, True])
def test_texts_and_likelihoods_of_one_document_are_scored_and_counted_together(model, manager, tmp_path, use_cache):
    options: dict[str, Any] = {"task_manager": manager, "bootstrap_iters": 0}
    expected = simple_evaluate(Plain(script), tasks=[{**TASK, "class": AlsoLikelihoods}], **options)
    for again in range(1 + use_cache):
        model.num_decoded = 0
        cache = {"use_cache": str(tmp_path / "cache")} if use_cache else {}
        found = simple_evaluate(model, tasks=[{**TASK, "class": AlsoLikelihoods}], **cache, **options)
        assert not list(differences(without_counts(found, expected), scores(expected)))
        assert model.num_decoded == (0 if again else 15)
        for line in found["samples"]["pens"]:
            _, *pairs = line["arguments"]
            said = [score_of(pair) for pair in pairs]
            assert line["nfe"] == 3 + line["doc_id"] + sum(score.nfe for score in said)
            assert line["likelihood_se"] == sum(score.standard_error for score in said) / 2
            assert line["tokens"] == 2 * (3 + line["doc_id"]) and line["truncated"] == 0
        means = [line["nfe"] for line in found["samples"]["pens"]]
        assert found["results"]["pens"]["nfe,none"] == pytest.approx(sum(means) / 5)
        record = found["config"]["mdlm"]
        assert record["totals_of_rank_0"]["requests"] == 15
        assert record["totals_of_rank_0"]["from_cache"] == (15 if again else 0)
        assert {"sampler", "likelihood", "mc_num"} <= set(record["decoding_by_task"]["pens"])
