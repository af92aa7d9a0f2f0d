"""The adapter under lm_eval's own evaluator."""

import json
import logging
import statistics

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.model import MDLM
from lm_eval_mdlm.harness.stored import StoredResults
from tests.harness.conftest import QUESTIONS
from tests.harness.running import evaluate, outcomes
from tests.tiny import make_checkpoint


MED = {"sampler": "med", "entropy_threshold": 1.0}
COUNTS = {"nfe", "nfe_partial", "tokens", "tokens_per_forward", "early_exit", "exit_step", "truncated"}


def test_counts_stand_in_samples_and_results_under_every_filter_of_a_stock_task(checkpoint, tasks):
    results = evaluate(checkpoint, tasks, ["pens"], **MED)
    lines = results["samples"]["pens"]
    assert len(lines) == 2 * len(QUESTIONS)  # two filters
    for name in COUNTS:
        for kind in ("strict", "loose"):
            values = [line[name] for line in lines if line["filter"] == kind]
            assert results["results"]["pens"][f"{name},{kind}"] == pytest.approx(statistics.fmean(values))
            stderr = statistics.stdev(values) / len(values) ** 0.5
            assert results["results"]["pens"][f"{name}_stderr,{kind}"] == pytest.approx(stderr)
    nfe = {line["nfe"] for line in lines}
    assert len(nfe) > 1 and nfe <= set(range(2, 17))
    assert "answer_entropy,strict" not in results["results"]["pens"]
    assert results["higher_is_better"]["pens"]["nfe"] is False


@pytest.mark.parametrize("options", [MED, {"sampler": "fixed_k", "k": 3}], ids=["med", "fixed_k"])
def test_results_do_not_depend_on_batch_size(checkpoint, tasks, options):
    names = ["pens", "pens_template"]
    one, *others = (evaluate(checkpoint, tasks, names, run_batch_size=size, **options) for size in (1, 5, 32, "auto"))
    for other in others:
        for name in names:
            assert outcomes(other, name) == outcomes(one, name)
            assert other["results"][name] == one["results"][name]


def test_template_task_reports_answer_entropy_and_exits(checkpoint, tasks):
    never = evaluate(checkpoint, tasks, ["pens_template"], **MED)["results"]["pens_template"]
    always = evaluate(checkpoint, tasks, ["pens_template"], exit_threshold=1e9, **MED)["results"]["pens_template"]
    assert (never["early_exit,strict"], never["exit_step,strict"]) == (0, 0)
    assert (always["early_exit,strict"], always["exit_step,strict"], always["nfe,strict"]) == (1, 1, 1)
    assert always["answer_entropy,strict"] > never["answer_entropy,strict"]


def test_every_sample_says_in_words_why_its_rows_stopped(checkpoint, tasks):
    def lines(**options):
        results = evaluate(checkpoint, tasks, ["pens_template"], **MED, **options)
        assert not any("stop" in name for name in results["results"]["pens_template"])
        return results["samples"]["pens_template"]

    for stop, options in {"complete": {}, "exit": {"exit_threshold": 1e9}, "cap": {"max_nfe": 1}}.items():
        found = lines(**options)
        assert {line["stop"] for line in found} == {stop}
        assert not any("stop" in line["metrics"] for line in found)


def test_cached_run_gives_the_same_figures_without_the_model(checkpoint, tasks, tmp_path, monkeypatch):
    cache = str(tmp_path / "cache")
    first = evaluate(checkpoint, tasks, ["pens"], run_use_cache=cache, **MED)
    monkeypatch.setattr("lm_eval_mdlm.harness.model.answer_all", lambda *args, **kwargs: pytest.fail("it was called"))
    second = evaluate(checkpoint, tasks, ["pens"], run_use_cache=cache, **MED)
    assert second["results"] == first["results"]
    assert outcomes(second, "pens") == outcomes(first, "pens")


def test_interrupted_run_is_resumed_from_its_cache(checkpoint, tasks, tmp_path, monkeypatch):
    cache = str(tmp_path / "cache")
    kept = []
    keep, add = StoredResults.keep, MDLM.generate_until

    def stop_half_way(*args):
        keep(*args)
        kept.append(args)
        if len(kept) == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(StoredResults, "keep", stop_half_way)
        evaluate(checkpoint, tasks, ["pens"], run_use_cache=cache, **MED)
    asked = []
    monkeypatch.setattr(MDLM, "generate_until", lambda self, r, **k: asked.extend(r) or add(self, r, **k))
    resumed = evaluate(checkpoint, tasks, ["pens"], run_use_cache=cache, **MED)
    assert len(asked) == len(QUESTIONS) - 5
    assert outcomes(resumed, "pens") == outcomes(evaluate(checkpoint, tasks, ["pens"], **MED), "pens")


def test_cache_of_other_options_is_refused(checkpoint, tasks, tmp_path):
    cache = str(tmp_path / "cache")
    evaluate(checkpoint, tasks, ["pens"], run_use_cache=cache, run_limit=2, **MED)
    with pytest.raises(UsageError, match='holds results of sampler="med", this run has "fixed_k"; name another file'):
        evaluate(checkpoint, tasks, ["pens"], run_use_cache=cache, run_limit=2, sampler="fixed_k")


def test_gen_kwargs_win_over_model_args_and_say_so(checkpoint, tasks, caplog):
    with caplog.at_level(logging.WARNING, logger="lm_eval.mdlm"):
        results = evaluate(
            checkpoint, tasks, ["pens"], run_limit=2, sampler="fixed_k", k=1, gen_kwargs={"k": 4, "max_gen_toks": 12}
        )
    assert results["results"]["pens"]["nfe,strict"] == 3  # blocks of 8 and 4 masks, four at a time
    assert "k: the task's or --gen_kwargs' value 4 replaces model_args' 1." in caplog.text


def test_effective_options_and_versions_are_recorded(checkpoint, tasks):
    record = evaluate(checkpoint, tasks, ["pens_template"], run_limit=2, **MED)["config"]["mdlm"]
    used = record["decoding_by_task"]["pens_template"]
    assert (used["sampler"], used["entropy_threshold"], used["gen_length"], used["block_length"]) == ("med", 1.0, 16, 8)
    assert used["until"] == ["Question:"] and used["template"][1] == {"text": "\nThe answer is "}
    assert record["versions"]["lm_eval"] and record["device"] == "cpu" and record["dtype"] == "torch.float32"
    json.dumps(record)


def test_temperature_that_do_sample_switches_off_is_said(checkpoint, tasks, caplog):
    with caplog.at_level(logging.WARNING, logger="lm_eval.mdlm"):
        evaluate(checkpoint, tasks, ["pens"], run_limit=1, gen_kwargs={"temperature": 0.7})
    assert "temperature=0.7 has no effect with do_sample=False" in caplog.text


def test_chat_template_of_an_unknown_name_is_refused(checkpoint):
    with pytest.raises(UsageError, match="no chat template 'foo'; it has one without a name"):
        MDLM(checkpoint, device="cpu").chat_template("foo")


def test_sampling_repeats_differ_and_are_repeatable(checkpoint, tasks):
    from lm_eval.api.instance import Instance

    model = MDLM(checkpoint, device="cpu", gen_length=12, temperature=5.0, batch_size=4)
    request = Instance("generate_until", {}, ("Question: 1+1?", {"until": []}), 0, ("pens", 0, 3))
    texts = model.generate_until([request] * 3, disable_tqdm=True)
    assert len(set(texts)) == 3
    assert model.generate_until([request] * 3, disable_tqdm=True) == texts
    assert all(type(text) is str for text in texts)


def test_long_prompts_are_cut_counted_and_reported(checkpoint, tasks, caplog):
    with caplog.at_level(logging.WARNING, logger="lm_eval.mdlm"):
        results = evaluate(checkpoint, tasks, ["pens"], max_length=68)
    share = results["results"]["pens"]["truncated,strict"]
    assert 0 < share < 1
    count = round(share * len(QUESTIONS))
    assert f"{count} of {len(QUESTIONS)} prompts were cut from the left to fit max_length=68" in caplog.text


@pytest.mark.parametrize("system", [None, "You count pens."])
def test_chat_template_is_rendered_once_without_extra_special_tokens(checkpoint, system):
    model = MDLM(checkpoint, device="cpu")
    turns = [{"role": "system", "content": system}] if system else []
    text = model.apply_chat_template([*turns, {"role": "user", "content": "Hello"}])
    bos = model.tokenizer.bos_token
    ids = model._chat.encode(text, None, rendered=True).token_ids
    assert text.count(bos) == 1 and ids.count(model.tokenizer.bos_token_id) == 1
    assert model.tokenizer.decode(ids) == text
    assert ("You count pens." in text) == bool(system)
    assert model.chat_template(True) == model.tokenizer.chat_template


@pytest.mark.parametrize(("flag", "begins"), [(None, None), (True, True), (False, False)])
def test_add_bos_token_overrides_the_tokenizer(checkpoint, flag, begins):
    model = MDLM(checkpoint, device="cpu")
    ids = model._chat.encode("Hello", flag, rendered=False).token_ids
    default = model.tokenizer.encode("Hello")
    if begins:
        assert ids[0] == model.tokenizer.bos_token_id
    assert (ids == default) if flag is None else ids[-1] == default[-1]
    if flag is False:
        assert model.tokenizer.bos_token_id not in ids


def test_no_requests_have_no_answers(checkpoint):
    model = MDLM(checkpoint, device="cpu")
    assert model.generate_until([]) == model.loglikelihood([]) == model.loglikelihood_rolling([]) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samplr": "med"}, "unknown option 'samplr'. Did you mean 'sampler'"),
        ({"pretrained": None}, "pretrained must name a checkpoint"),
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"max_gen_toks": 8}, "write gen_length in --model_args"),
        ({"batch_size": 0}, "batch_size must be a whole number, at least 1, got 0"),
        ({"k": 0}, "k must be a whole number, at least 1, got 0"),
        ({"sampler": "med", "entropy_threshold": float("nan")}, "entropy_threshold must be a number"),
    ],
)
def test_bad_model_args_are_refused_before_anything_is_loaded(checkpoint, monkeypatch, options, message):
    monkeypatch.setattr(
        "lm_eval_mdlm.harness.model.load_backbone", lambda **kwargs: pytest.fail("a checkpoint was loaded")
    )
    with pytest.raises(UsageError, match=message) as caught:
        MDLM(**{"pretrained": checkpoint, **options})
    assert "\n" not in str(caught.value)


def test_checkpoint_without_tokenizer_is_refused_before_its_weights_are_read(tmp_path, monkeypatch):
    bare = make_checkpoint(tmp_path / "bare", "llada", tokenizer=False)
    monkeypatch.setattr("lm_eval_mdlm.checkpoints.load._load_network", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(UsageError, match="must have a tokenizer for text tasks, got none"):
        MDLM(str(bare), device="cpu")


@pytest.mark.parametrize(
    ("gen_kwargs", "message"),
    [
        ({"blok_length": 4}, "unknown decoding option 'blok_length'. Did you mean 'block_length'"),
        ({"dtype": "bfloat16"}, "the model is loaded with dtype='auto' for the whole run; put it into --model_args"),
        ({"num_beams": 4}, "num_beams=4 is not available"),
        ({"do_sample": True}, "do_sample=True needs a temperature above 0"),
        ({"exit_threshold": 0.1}, "needs a template with an answer segment"),
        ({"template": [{"answer": 0}]}, "at least 1, got 0"),
    ],
)
def test_bad_gen_kwargs_are_refused_before_the_first_pass(checkpoint, tasks, monkeypatch, gen_kwargs, message):
    monkeypatch.setattr("lm_eval_mdlm.harness.model.answer_all", lambda *args, **kwargs: pytest.fail("decoding began"))
    with pytest.raises(UsageError, match=message):
        evaluate(checkpoint, tasks, ["pens"], gen_kwargs=gen_kwargs)


def test_what_the_model_was_loaded_with_may_be_repeated_in_gen_kwargs(checkpoint, tasks):
    results = evaluate(checkpoint, tasks, ["pens"], run_limit=1, run_batch_size=2, gen_kwargs={"batch_size": 2})
    assert results["results"]["pens"]["nfe,strict"] == 16
