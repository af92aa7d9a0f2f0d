"""What belongs to a run stays in it; options that are asked for act, or a line says that they do not."""

import copy
import logging
from pathlib import Path

import pytest
import yaml
from lm_eval import evaluator
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.model import MDLM
from tests.harness.running import evaluate


@pytest.fixture
def model(checkpoint) -> MDLM:
    return MDLM(checkpoint, device="cpu", gen_length=8, block_length=8, batch_size=4)


@pytest.fixture
def run(tasks):
    """One evaluation of a model object, with the arguments of `simple_evaluate`."""

    def evaluated(model, names=("pens",), *, folder=tasks, **options):
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        options = {"limit": 3, "bootstrap_iters": 2, "task_manager": manager, **options}
        return simple_evaluate(model=model, tasks=list(names), **options)

    return evaluated


def record(results):
    return results["config"]["mdlm"]


def texts(results, task="pens"):
    return [line["resps"][0][0] for line in results["samples"][task]]


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING, logger="lm_eval.mdlm")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "lm_eval.mdlm"]


# A run's own record


def test_every_run_of_one_model_object_has_a_record_of_its_own(model, run):
    results = [run(model, gen_kwargs={"k": k}) for k in (1, 2, 4)]
    for k, result in zip((1, 2, 4), results, strict=True):
        assert record(result)["decoding_by_task"]["pens"]["k"] == k
        assert record(result)["totals_of_rank_0"]["nfe"] == 3 * 8 // k
        assert record(result)["nfe_by_process"] == [3 * 8 // k]
        assert result["results"]["pens"]["nfe,strict"] == 8 // k


def test_runs_over_other_tasks_leave_no_trace_in_a_record(model, run):
    both = run(model, ("pens", "pens_template"), gen_kwargs={"gen_length": 8})
    one = run(model, ("pens_template",), gen_kwargs={"gen_length": 8})
    assert set(record(both)["decoding_by_task"]) == {"pens", "pens_template"}
    assert set(record(one)["decoding_by_task"]) == {"pens_template"}
    assert record(one)["totals_of_rank_0"]["requests"] == 3


def test_a_run_that_failed_leaves_no_trace_in_the_next(model, run):
    with pytest.raises(UsageError):
        run(model, gen_kwargs={"exit_threshold": 1.0})
    assert record(run(model))["totals_of_rank_0"]["requests"] == 3


def test_requests_without_an_evaluation_are_a_run_of_their_own(model):
    request = Instance("generate_until", {}, ("Question: 1+1?", {"until": [], "k": 2}), 0, ("mine", 0, 1))
    for _ in range(2):
        assert all(type(text) is str for text in model.generate_until([request], disable_tqdm=True))
        found = model.get_model_info()["mdlm"]
        assert found["totals_of_rank_0"]["nfe"] == 4 and found["decoding_by_task"]["mine"]["k"] == 2


def test_tasks_have_their_own_class_again_after_a_run(model, tasks):
    loaded = TaskManager(include_path=tasks, include_defaults=False).load(["pens"])
    (task,) = loaded["tasks"].values()
    before = type(task), set(vars(task))
    task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(0)
    evaluator.evaluate(lm=model, task_dict=loaded, limit=2, bootstrap_iters=2)
    assert type(task) is before[0] and not {name for name in vars(task) if name.startswith("mdlm")}
    copied = copy.deepcopy(task)
    assert type(copied) is before[0]


def test_nested_dictionary_of_older_callers_is_counted_too(model, tasks):
    loaded = TaskManager(include_path=tasks, include_defaults=False).load(["pens"])["tasks"]
    for task in loaded.values():
        task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(0)
    results = evaluator.evaluate(lm=model, task_dict=dict(loaded), limit=2, bootstrap_iters=2)
    assert results["results"]["pens"]["nfe,strict"] == 8


def test_task_stats_is_of_the_model_that_asks_and_of_no_later_one(checkpoint, tasks):
    found = [
        evaluate(checkpoint, tasks, ["pens"], run_limit=2, task_stats=flag)["results"]["pens"]
        for flag in (True, False, True)
    ]
    assert ["nfe,strict" in result for result in found] == [True, False, True]
    assert found[0]["exact_match,strict"] == found[1]["exact_match,strict"]


def test_another_model_in_the_same_process_is_left_alone(checkpoint, tasks):
    evaluate(checkpoint, tasks, ["pens"], run_limit=2)
    found = evaluate(checkpoint, tasks, ["pens"], run_limit=2, run_model="dummy", run_model_args={})
    assert "nfe,strict" not in found["results"]["pens"]


def test_chat_of_one_run_does_not_change_the_prompts_of_the_next(model, run, monkeypatch):
    asked = []
    encode = type(model._chat).encode

    def spy(self, context, add_bos_token, *, rendered):
        asked.append(rendered)
        return encode(self, context, add_bos_token, rendered=rendered)

    monkeypatch.setattr(type(model._chat), "encode", spy)
    before = run(model)
    run(model, apply_chat_template=True)
    after = run(model)
    assert asked == [False] * 3 + [True] * 3 + [False] * 3
    assert texts(after) == texts(before)


@pytest.mark.parametrize("name", ["foo", "rag"])
def test_chat_template_of_an_unknown_name_is_refused_without_a_tracker_too(model, run, name):
    with pytest.raises(UsageError, match=f"no chat template '{name}'"):
        run(model, apply_chat_template=name)


def test_chat_template_of_a_name_is_the_one_that_writes_the_prompts(model, run):
    model.tokenizer.chat_template = {"default": "D{{ messages[0].content }}", "tool": "T{{ messages[0].content }}"}
    for name, letter in ((True, "D"), ("tool", "T"), (True, "D")):
        results = run(model, apply_chat_template=name)
        assert results["samples"]["pens"][0]["arguments"][0][0].startswith(letter + "Question")


# --use_cache


def test_fully_cached_run_records_the_options_and_counts_of_its_texts(model, run, tmp_path):
    cache = str(tmp_path / "cache")
    first, second = (record(run(model, use_cache=cache, gen_kwargs={"k": 2})) for _ in range(2))
    assert second["decoding_by_task"] == first["decoding_by_task"] and second["decoding_by_task"]["pens"]["k"] == 2
    assert (first["totals_of_rank_0"]["from_cache"], second["totals_of_rank_0"]["from_cache"]) == (0, 3)
    for name in ("requests", "nfe", "tokens"):
        assert second["totals_of_rank_0"][name] == first["totals_of_rank_0"][name] > 0
    assert second["nfe_by_process"] == [0]  # no pass was run


def test_partly_cached_run_records_all_of_its_requests(model, run, tmp_path):
    cache = str(tmp_path / "cache")
    run(model, use_cache=cache, limit=2)
    results = run(model, use_cache=cache, limit=5)
    assert record(results)["totals_of_rank_0"] | {"seconds": 0, "tokens": 0} == {
        "requests": 5, "from_cache": 2, "from_journal": 0, "nfe": 40, "tokens": 0, "seconds": 0,
    }  # fmt: skip
    assert record(results)["nfe_by_process"] == [24] and results["results"]["pens"]["nfe,strict"] == 8


def test_run_without_a_cache_writes_to_no_earlier_file(model, run, tmp_path):
    run(model, use_cache=str(tmp_path / "cache"), limit=2)
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()
    run(model, limit=5)
    request = Instance("generate_until", {}, ("another", {"until": []}), 0, ("mine", 0, 1))
    model.generate_until([request], disable_tqdm=True)
    assert file.read_bytes() == before


def test_cache_object_that_is_used_again_serves_and_counts(model, run, tmp_path):
    cached = CachingLM(model, str(tmp_path / "c.db"))
    request = Instance("generate_until", {}, ("Question: 1+1?", {"until": []}), 0, ("mine", 0, 1))
    assert cached.generate_until([request]) == cached.generate_until([request])


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"mask_token_id": 7}, "mask_token_id=402, this run has 7"),
        ({"seed": 5}, "seed=.*, this run has 5"),
        ({"stop_when_settled": True}, "stop_when_settled=false, this run has true"),
        ({"until": ["x"]}, r'until=\[\], this run has \["x"\]'),
    ],
)
def test_cache_of_other_settings_is_refused_by_the_setting_that_differs(
    checkpoint, tasks, tmp_path, change, difference
):
    cache = str(tmp_path / "cache")
    evaluate(checkpoint, tasks, ["pens"], run_limit=1, run_use_cache=cache)
    with pytest.raises(UsageError, match=f"holds results of {difference}; name another file") as caught:
        evaluate(checkpoint, tasks, ["pens"], run_limit=1, run_use_cache=cache, **change)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"])
def test_cache_of_another_tokenizer_is_refused(tasks, tmp_path, file):
    from tests.tiny import make_checkpoint

    folder, cache = make_checkpoint(tmp_path / "checkpoint", "llada"), str(tmp_path / "cache")
    evaluate(str(folder), tasks, ["pens"], run_limit=1, run_use_cache=cache)
    path = folder / file
    path.write_text(path.read_text() + "\n" if path.exists() else "{}")
    with pytest.raises(UsageError, match="holds results of tokenizer="):
        evaluate(str(folder), tasks, ["pens"], run_limit=1, run_use_cache=cache)


# --seed


def test_seed_of_the_harness_is_the_default_of_seed(model, run):
    options = {"gen_kwargs": {"temperature": 5.0, "do_sample": True}}
    drawn = [texts(run(model, torch_random_seed=seed, **options)) for seed in (1, 2, 3, 1)]
    assert drawn[0] == drawn[3] and len({str(d) for d in drawn}) == 3


def test_own_seed_wins_over_that_of_the_harness_and_both_are_recorded(checkpoint, tasks):
    options = {"run_limit": 2, "gen_kwargs": {"temperature": 5.0, "do_sample": True}}
    one, two = (evaluate(checkpoint, tasks, ["pens"], seed=0, run_torch_random_seed=s, **options) for s in (1, 2))
    assert texts(one) == texts(two)
    assert record(one)["decoding_by_task"]["pens"]["seed"] == record(one)["seed"] == 0
    free = evaluate(checkpoint, tasks, ["pens"], run_torch_random_seed=7, **options)
    assert record(free)["decoding_by_task"]["pens"]["seed"] == record(free)["seed"] == 7


# Lengths


@pytest.fixture
def sized(tasks, tmp_path) -> Path:
    """`pens` with the length that stock tasks give, once free and once with a template."""
    for name in ("pens", "pens_template"):
        task = yaml.safe_load(Path(tasks, f"{name}.yaml").read_text())
        task["generation_kwargs"]["max_gen_toks"] = 6
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(task))
    return tmp_path


@pytest.mark.parametrize(
    "name", ["max_new_tokens", "max_tokens", "max_completion_tokens", "max_gen_toks", "gen_length"]
)
def test_length_of_the_command_line_wins_over_the_tasks(model, run, sized, name):
    results = run(model, folder=sized, gen_kwargs={name: 4})
    assert results["results"]["pens"]["nfe,strict"] == 4


def test_length_of_a_task_leaves_templates_as_they_are_and_a_line_says_so(model, run, sized, said):
    results = run(model, ("pens", "pens_template"), folder=sized)
    by_task = record(results)["decoding_by_task"]
    assert (by_task["pens"]["gen_length"], by_task["pens_template"]["gen_length"]) == (6, 8)  # 8 is model_args'
    assert sum("max_gen_toks=6 is a length for free regions" in line for line in said()) == 1
    longer = run(model, ("pens_template",), folder=sized, gen_kwargs={"gen_length": 9})
    assert record(longer)["decoding_by_task"]["pens_template"]["gen_length"] == 9


# Lines


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"max_batch_size": 4, "batch_size": 2}, "max_batch_size=4 has an effect only with batch_size=auto"),
        ({"enable_thinking": True}, "enable_thinking=True without think_end_token"),
    ],
)
def test_option_without_effect_is_said(checkpoint, said, options, line):
    MDLM(checkpoint, device="cpu", **options)
    assert any(line in one for one in said())


def test_exit_of_the_model_acts_on_tasks_with_an_answer_and_a_line_names_the_rest(checkpoint, run, said):
    model = MDLM(checkpoint, device="cpu", gen_length=8, block_length=8, exit_threshold=1e6)
    results = run(model, ("pens", "pens_template"))
    found = results["results"]
    assert (found["pens"]["nfe,strict"], found["pens_template"]["nfe,strict"]) == (8, 1)
    by_task = record(results)["decoding_by_task"]
    assert (by_task["pens"]["exit_threshold"], by_task["pens_template"]["exit_threshold"]) == (None, 1e6)
    assert sum("exit_threshold=1e+06 in --model_args has no effect on tasks without" in line for line in said()) == 1


@pytest.mark.parametrize(
    ("theirs", "lines"),
    [({"batch_size": "4"}, 1), ({"batch_size": 1}, 0), ({"batch_size": 2}, 0), ({"max_batch_size": 9}, 1)],
)
def test_flag_that_gives_way_to_model_args_is_said(checkpoint, said, theirs, lines):
    made = MDLM.create_from_arg_obj({"pretrained": checkpoint, "batch_size": 2, "max_batch_size": 3}, theirs)
    assert made.loading.batch_size == 2
    assert sum("in --model_args is used, and not --" in line for line in said()) == lines


@pytest.mark.parametrize("stop", ["\\n", "a\\nb", "\\t", "Q\\r"])
def test_stop_string_with_a_literal_backslash_is_said(model, run, said, stop):
    run(model, gen_kwargs={"until": [stop]})
    assert any("holds a backslash and a letter" in line and repr(stop) in line for line in said())


def test_headline_stands_where_converters_look(model, run):
    config = run(model)["config"]
    assert config["model_num_parameters"] == model.backbone.description["num_parameters"] > 0
    assert (config["model_dtype"], config["model_revision"], config["model_sha"]) == ("torch.float32", "main", "")
