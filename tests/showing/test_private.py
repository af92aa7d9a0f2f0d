"""Nothing that belongs to the user alone stands in a record, and everything else stays as it is."""

import json

import pytest

from lm_eval_mdlm.showing.private import HIDDEN, public


KEY = "hf_" + "aB3" * 12


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/data/people/anna")
    monkeypatch.setenv("HF_TOKEN", "not-of-a-known-form-1")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/data/people/anna/models/LLaDA", "~/models/LLaDA"),
        ("/data/people/anna", "~"),
        ("/data/people/annabel/models", "/data/people/annabel/models"),
        ("/home/ben/LLaDA", "~/LLaDA"),
        ("/Users/ben/LLaDA", "~/LLaDA"),
        ("/root/LLaDA", "~/LLaDA"),
        ("/rootless/LLaDA", "/rootless/LLaDA"),
        ("/data/home/LLaDA", "/data/home/LLaDA"),
        ("C:\\Users\\ben\\LLaDA", "~\\LLaDA"),
        ("pretrained=/home/ben/LLaDA,journal=/home/ben/j", "pretrained=~/LLaDA,journal=~/j"),
        ("GSAI-ML/LLaDA-8B-Base", "GSAI-ML/LLaDA-8B-Base"),
        (f"pretrained=a/b,token={KEY},dtype=float32", f"pretrained=a/b,token={HIDDEN},dtype=float32"),
        (f"x {KEY} y", f"x {HIDDEN} y"),
        ("https://anna:secret@hub.example/a/b", f"https://{HIDDEN}@hub.example/a/b"),
        ("revision=not-of-a-known-form-1", f"revision={HIDDEN}"),
        ("api_key=1234,base_url=http://localhost", f"api_key={HIDDEN},base_url=http://localhost"),
        ({"token": "abc", "steps": 8}, {"token": HIDDEN, "steps": 8}),
        ({"hf_token": "abc", "token": True}, {"hf_token": HIDDEN, "token": True}),
        ({"think_end_token": "</think>", "mask_token_id": 7}, {"think_end_token": "</think>", "mask_token_id": 7}),
        ({"api_key": ["k"], "token": {"value": "k"}}, {"api_key": HIDDEN, "token": HIDDEN}),
        ({"access-token": "abc", "X-Api-Key": "abc"}, {"access-token": HIDDEN, "X-Api-Key": HIDDEN}),
        ({"api_key": 1234, "hf_token": None}, {"api_key": HIDDEN, "hf_token": None}),
        ("run --token abcdefgh --limit 3", f"run --token {HIDDEN} --limit 3"),
        ("run --hf-token=abcdefgh", f"run --hf-token={HIDDEN}"),
        ('{"token": "abc, d", "k": 4}', f'{{"token": "{HIDDEN}", "k": 4}}'),
        ("{'token': 'abc'}", f"{{'token': '{HIDDEN}'}}"),
        (r'"{\"api_key\": \"abc\"}"', rf'"{{\"api_key\": \"{HIDDEN}\"}}"'),
        ('{"api_key": ["a", "b"], "k": 4}', f'{{"api_key": {HIDDEN}, "k": 4}}'),
        ('{"token": true, "eos_token": "</s>"}', '{"token": true, "eos_token": "</s>"}'),
        ("Authorization: Bearer abc", f"Authorization: {HIDDEN}"),
        ("seconds per token: 3", "seconds per token: 3"),
        ("https://u:p@ss@h/x@y", f"https://{HIDDEN}@h/x@y"),
        ("file:///home/ben/x", "file://~/x"),
        ("file:///data/people/anna/x", "file://~/x"),
        ([{"x": ["/home/ben/a"]}, None, 1.5], [{"x": ["~/a"]}, None, 1.5]),
    ],
)
def test_keys_and_homes_are_hidden_and_nothing_else(given, shown):
    before = json.dumps(given)
    assert public(given) == shown
    assert json.dumps(given) == before


def test_a_user_without_a_home_hides_no_path(monkeypatch):
    monkeypatch.setenv("HOME", "/")
    assert public("/data/LLaDA") == "/data/LLaDA"
