import statistics
from pathlib import Path

import pytest
import yaml
from lm_eval.api.instance import Instance
from tokenizers.processors import TemplateProcessing

from lm_eval_mdlm.decoding.exits import ConfidenceExit
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.evaluation import Started
from lm_eval_mdlm.harness.model import MDLM
from tests.harness.running import evaluate


MED = {"sampler": "med", "entropy_threshold": 1.0}


@pytest.fixture(scope="module")
def model(checkpoint) -> MDLM:
    return MDLM(checkpoint, device="cpu", gen_length=12, temperature=5.0)


@pytest.fixture(scope="module")
def more_tasks(tasks, tmp_path_factory) -> str:
    """`pens` three times per document, with a prefix of the answer, and as a class that scores by itself."""
    folder = tmp_path_factory.mktemp("more")
    pens = yaml.safe_load(Path(tasks, "pens.yaml").read_text())
    for name, more in {
        "pens_thrice": {"repeats": 3, "generation_kwargs": {"until": []}},
        "pens_prefix": {"gen_prefix": "She has"},
    }.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**pens, "task": name, **more}))
    (folder / "own.py").write_text(
        "from lm_eval.api.task import ConfigurableTask\n"
        "class Own(ConfigurableTask):\n"
        "    def __init__(self, config=None, **kwargs):\n"
        "        super().__init__(config={k: v for k, v in config.items() if k != 'class'}, **kwargs)\n"
        "    def process_results(self, doc, results):\n"
        "        return {'exact_match': 0.5}\n"
    )
    text = yaml.safe_dump({**pens, "task": "pens_own"})
    (folder / "pens_own.yaml").write_text(text + "class: !function own.Own\n")
    return str(folder)


def request(repeats: int = 1, **generation_kwargs) -> Instance:
    arguments = ("Question: 1+1?", {"until": [], **generation_kwargs})
    return Instance("generate_until", {}, arguments, 0, ("pens", 0, repeats))


def plan_of(model: MDLM, **generation_kwargs):
    (posed,) = model._reader.rows([request(**generation_kwargs)], model._run)
    return posed.question.plan(model.backbone)


def test_padding_of_a_process_repeats_the_samples_it_pads(model):
    # The harness appends `[last] * repeats` to the requests of a process that has fewer.
    one, two = request(), request(repeats=2)
    assert len(set(model.generate_until([one, one], disable_tqdm=True))) == 1
    first, second, third, fourth = model.generate_until([two] * 4, disable_tqdm=True)
    assert (first, second) == (third, fourth) and first != second


def test_counts_are_means_over_the_samples_of_a_document(checkpoint, more_tasks):
    results = evaluate(checkpoint, more_tasks, ["pens_thrice"], run_limit=3, temperature=4.0, **MED)
    lines = [line for line in results["samples"]["pens_thrice"] if line["filter"] == "strict"]
    assert any(line["nfe"] % 1 for line in lines)
    assert results["results"]["pens_thrice"]["nfe,strict"] == pytest.approx(statistics.fmean(x["nfe"] for x in lines))


@pytest.mark.parametrize("options", [{"temperature": 4.0}, {"score": "random"}], ids=str)
def test_cache_that_would_repeat_one_sample_is_refused(checkpoint, more_tasks, tmp_path, options):
    with pytest.raises(UsageError, match="--use_cache keeps one text per request"):
        evaluate(checkpoint, more_tasks, ["pens_thrice"], run_limit=2, run_use_cache=str(tmp_path / "c"), **options)
    evaluate(checkpoint, more_tasks, ["pens_thrice"], run_limit=1, run_use_cache=str(tmp_path / "d"))


def test_cache_of_another_model_is_refused(checkpoint, tasks, tmp_path):
    cache = str(tmp_path / "cache")
    evaluate(checkpoint, tasks, ["pens"], run_limit=1, run_use_cache=cache, run_model="dummy", run_model_args={})
    with pytest.raises(UsageError, match="holds results of another model"):
        evaluate(checkpoint, tasks, ["pens"], run_limit=1, run_use_cache=cache)


def test_cache_of_another_checkpoint_is_refused(checkpoint, tasks, tmp_path):
    from tests.tiny import make_checkpoint

    cache = str(tmp_path / "cache")
    evaluate(checkpoint, tasks, ["pens"], run_limit=1, run_use_cache=cache)
    other = str(make_checkpoint(tmp_path / "other", "llada", seed=1))
    with pytest.raises(UsageError, match="name another file"):
        evaluate(other, tasks, ["pens"], run_limit=1, run_use_cache=cache)


def test_model_args_win_over_the_harness_defaults(checkpoint):
    made = MDLM.create_from_arg_obj({"pretrained": checkpoint, "batch_size": 3}, {"batch_size": 1, "device": "cpu"})
    assert (made.loading.batch_size, made.loading.device) == (3, "cpu")


def test_cached_requests_take_the_generation_kwargs_of_this_run(checkpoint, tasks, tmp_path, monkeypatch):
    monkeypatch.setattr("lm_eval.caching.cache.PATH", str(tmp_path))
    for length in (4, 6):
        options = {"run_limit": 1, "run_cache_requests": True, "gen_kwargs": {"gen_length": length}}
        assert evaluate(checkpoint, tasks, ["pens"], **options)["results"]["pens"]["nfe,strict"] == length


def test_task_class_that_scores_by_itself_reports_counts(checkpoint, more_tasks):
    found = evaluate(checkpoint, more_tasks, ["pens_own"], run_limit=2)["results"]["pens_own"]
    assert (found["exact_match,strict"], found["nfe,strict"]) == (0.5, 16)


@pytest.fixture
def greedy_bos(checkpoint) -> MDLM:
    """A model whose tokenizer begins every text with the beginning-of-text token by itself."""
    model = MDLM(checkpoint, device="cpu")
    bos = model.tokenizer.bos_token
    model.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, model.tokenizer.bos_token_id)]
    )
    return model


def test_chat_gets_no_second_beginning_and_plain_text_keeps_its_first(greedy_bos):
    chat, bos = greedy_bos._chat, greedy_bos.tokenizer.bos_token_id
    assert chat.encode("Hello", None, rendered=False).token_ids[0] == bos
    text = greedy_bos.apply_chat_template([{"role": "user", "content": "Hello"}])
    for flag in (None, True):
        for rendered in (True, False):  # a text that begins with it is seen through even where nobody says so
            assert chat.encode(text, flag, rendered=rendered).token_ids.count(bos) == 1
    assert chat.encode("Hello", None, rendered=True).token_ids[0] != bos


def test_prefix_of_the_answer_is_continued(checkpoint, more_tasks):
    results = evaluate(checkpoint, more_tasks, ["pens_prefix"], run_limit=1, run_apply_chat_template=True)
    context = results["samples"]["pens_prefix"][0]["arguments"][0][0]
    assert context.endswith("assistant<|end_header_id|>\n\nShe has")


def test_special_tokens_stand_in_no_text_and_only_single_tokens_are_suppressed(checkpoint):
    model = MDLM(checkpoint, device="cpu")
    marker = "<|start_header_id|>"
    plan = plan_of(model, gen_length=4)
    ids = [model.tokenizer.convert_tokens_to_ids(marker), *model.tokenizer.encode("ab", add_special_tokens=False)]
    assert plan.text_rule.read([*ids, *plan.region.token_ids])
    assert marker not in plan.text_rule.decode(ids) and plan.text_rule.decode(ids) == "ab"
    with pytest.raises(UsageError, match="must name single tokens, got 'several words here'"):
        model.generate_until([request(suppress_tokens=["several words here"])])
    named = plan_of(model, suppress_tokens=[marker])
    assert set(named.logit_rule.forbidden_ids) == {model.backbone.mask_token_id, ids[0]}


def test_fixed_text_is_tokenised_without_special_tokens(greedy_bos):
    template = [{"text": "So"}, {"answer": 2}]
    region = plan_of(greedy_bos, template=template).region
    assert greedy_bos.tokenizer.bos_token_id not in region.token_ids


@pytest.mark.parametrize(
    ("of_task", "of_command_line", "unit"),
    [
        ({"exit_threshold": 0.7}, {"exit_rule": "confidence"}, "entropy"),
        ({"exit_rule": "confidence", "exit_threshold": 0.9}, {"exit_threshold": 0.5}, "entropy"),
        ({}, {"exit_rule": "stable"}, "confidence"),
        ({"exit_rule": "stable"}, {}, "confidence"),
        ({"exit_threshold": 0.7}, {}, "entropy"),
    ],
    ids=str,
)
def test_thresholds_of_task_command_line_and_model_are_read_by_their_own_rule_alone(
    checkpoint, of_task, of_command_line, unit
):
    model = MDLM(checkpoint, device="cpu", exit_rule="confidence", exit_threshold=0.8)
    template = {"template": [{"reasoning": 4}, {"answer": 2}]}
    line = f"exit_threshold=.* was given for exit_rule={unit} and would be read by"
    with model.evaluation(Started(gen_kwargs=of_command_line)) as run, pytest.raises(UsageError, match=line):
        model._reader.config_of({**template, **of_task, **of_command_line}, run)
    both = {"exit_rule": "confidence", "exit_threshold": 0.4}
    with model.evaluation(Started(gen_kwargs=both)) as run:
        assert model._reader.config_of({**template, **of_task, **both}, run).exit() == ConfidenceExit(0.4)
