"""`lm-eval-mdlm judge`: what a model of lm_eval is asked, what becomes of its replies, and that it is asked once."""

import json

import pytest
from lm_eval.api.model import LM

from lm_eval_mdlm import register
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness import judging
from lm_eval_mdlm.harness.judging import JudgeOptions, judge_file
from tests.traces.lines import line, read, write


LINES = [line(0), line(1, solution="1 + 1 = 3"), line(2, solution="dunno"), line(0, trace=1)]


class Judge(LM):
    """Finds traces with `3` wrong, has no opinion where nobody has, and fails at a given request."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, dict]] = []
        self.made_with: list[tuple[dict, dict]] = []
        self.fails_at: int | None = None

    def create_from_arg_obj(self, arg_dict, additional_config=None):
        self.made_with.append((arg_dict, additional_config))
        return self

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        return f"<user>{chat_history[0]['content']}<judge>"

    def generate_until(self, requests, disable_tqdm=False):
        if self.fails_at is not None and len(self.asked) >= self.fails_at:
            raise ConnectionError("the judge is gone")
        self.asked += [request.args for request in requests]
        return ["Hm." if "dunno" in r.args[0] else f"So {'IN' if '= 3' in r.args[0] else ''}CORRECT" for r in requests]

    def loglikelihood(self, requests, disable_tqdm=False):
        raise NotImplementedError

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        raise NotImplementedError


@pytest.fixture
def judge(monkeypatch):
    made = Judge()
    monkeypatch.setattr(judging, "get_model", lambda name: {"fake": made}[name])
    return made


def judged(tmp_path, lines=LINES, name="judged.jsonl", **options):
    path = write(tmp_path / "traces.jsonl", lines)
    return judge_file(JudgeOptions(traces=path, output=tmp_path / name, **{"model": "fake", **options}))


def test_lines_come_back_with_verdicts(tmp_path, judge, caplog):
    assert judged(tmp_path) == f"{tmp_path / 'judged.jsonl'}: 2 of 4 traces judged right, 1 wrong"
    found = read(tmp_path / "judged.jsonl")
    assert [one["judged"] for one in found] == [True, False, None, True]
    assert [one["verdict"] for one in found] == ["So CORRECT", "So INCORRECT", "Hm.", "So CORRECT"]
    assert [{name: one[name] for name in LINES[0]} for one in found] == LINES
    assert "1 of 4 replies hold neither CORRECT nor INCORRECT; judged is null there." in caplog.text
    assert len(judge.asked) == 3  # lines 1 and 4 ask the same
    for text, _ in judge.asked:
        assert [one["prompt"] in text and one["solution"] in text for one in LINES].count(True) >= 1


def test_options_reach_the_model_in_the_harness_spelling(tmp_path, judge):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("{{ task }}: {{ solution }} | {{ answer }}")
    options = {
        "model_args": ["base_url=http://localhost:1,model=m"],
        "gen_kwargs": ["max_gen_toks=7"],
        "prompt": prompt,
    }
    options |= {"gen_kwargs": ["max_gen_toks=7"], "apply_chat_template": True, "batch_size": "4"}
    judged(tmp_path, **options, device="cpu")
    assert judge.made_with == [({"base_url": "http://localhost:1", "model": "m"}, {"batch_size": "4", "device": "cpu"})]
    assert judge.asked[0] == (
        "<user>pens: 0 + 1 = 1 | 1<judge>",
        {"until": [], "max_gen_toks": 7, "do_sample": False, "temperature": 0.0},
    )


def test_replies_in_a_journal_are_not_asked_for_again(tmp_path, judge, monkeypatch):
    monkeypatch.setattr(judging, "AT_A_TIME", 2)
    lines = [line(i) for i in range(7)]
    judge.fails_at = 4
    with pytest.raises(ConnectionError):
        judged(tmp_path, lines, journal=str(tmp_path / "journal"))
    assert len(judge.asked) == 4 and not (tmp_path / "judged.jsonl").exists()
    judge.fails_at = None
    judged(tmp_path, lines, journal=str(tmp_path / "journal"))
    assert len(judge.asked) == len({text for text, _ in judge.asked}) == 7
    judged(tmp_path, lines, name="undisturbed.jsonl")
    assert (tmp_path / "undisturbed.jsonl").read_text() == (tmp_path / "judged.jsonl").read_text()
    judged(tmp_path, lines, name="other.jsonl", journal=str(tmp_path / "journal"), gen_kwargs=["max_gen_toks=9"])
    assert len(judge.asked) == 21


def test_a_finished_file_is_left_alone_and_no_model_is_made(tmp_path, judge):
    judged(tmp_path)
    assert judged(tmp_path).endswith("was complete already") and len(judge.made_with) == 1
    with pytest.raises(UsageError, match="belongs to another run"):
        judged(tmp_path, gen_kwargs=["temperature=1"])


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        ([line(0), {"prompt": "a", "answer": "b"}], {}, "line 2: 'solution' must be a string, got nothing"),
        (LINES, {"prompt": "{{ nothing }}"}, "line 1: --prompt cannot be filled in \\('nothing' is undefined\\)"),
        (LINES, {"prompt": "{{ prompt "}, "--prompt .* cannot be read"),
        (LINES, {"prompt": None}, "--prompt .* cannot be read"),
    ],
    ids=str,
)
def test_bad_input_is_refused_before_a_model_is_made(tmp_path, judge, lines, options, message):
    if "prompt" in options:
        text, options = options["prompt"], {"prompt": tmp_path / "prompt.txt"}
        if text is not None:
            options["prompt"].write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        judged(tmp_path, lines, **options)
    assert "\n" not in str(caught.value) and not judge.made_with and not (tmp_path / "judged.jsonl").exists()


def test_unknown_models_and_launchers_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="--model nobody is unknown to lm_eval"):
        judged(tmp_path, model="nobody")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="judge runs in one process"):
        judged(tmp_path)


def test_a_masked_diffusion_model_can_judge(tmp_path, checkpoints):
    register()
    model_args = [json.dumps({"pretrained": str(checkpoints["llada"])})]
    options = {"model": "mdlm", "model_args": model_args, "gen_kwargs": ["max_gen_toks=4"], "device": "cpu"}
    judged(tmp_path, **options)
    found = read(tmp_path / "judged.jsonl")
    assert [one["judge"] for one in found] == ["mdlm"] * 4 and found[0]["verdict"] == found[3]["verdict"]
