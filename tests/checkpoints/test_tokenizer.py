"""Tokenizers and special tokens."""

import builtins
import shutil

import pytest

from lm_eval_mdlm import UsageError, load_backbone
from lm_eval_mdlm.checkpoints.families.known import FAMILIES as KNOWN
from lm_eval_mdlm.checkpoints.raw_config import RawConfig
from lm_eval_mdlm.checkpoints.tokenizer import load_tokenizer, special_tokens
from tests.checkpoints.plain import edit_config
from tests.tiny import make_checkpoint, token_id


TEXTS = ("", " ", "She sells 12 * 3 = 36 loaves.\n\n", "  \\boxed{48}\t", "naïve 日本 🙂", "def f(x):\n    return x")


def test_text_survives_encoding_and_decoding(backbone):
    for text in TEXTS:
        ids = backbone.tokenizer.encode(text, add_special_tokens=False)
        assert backbone.tokenizer.decode(ids, skip_special_tokens=False) == text
        assert all(0 <= token < 400 for token in ids)


def test_special_tokens_in_text_are_single_ids_and_can_be_dropped(backbones):
    for family, text in (("llada", "<|eot_id|><|mdm_mask|>a"), ("dream", "<|im_end|><|mask|>a")):
        tokenizer = backbones[family].tokenizer
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert len(ids) == 3
        assert tokenizer.decode(ids, skip_special_tokens=True) == "a"


def test_the_ids_that_decoding_needs_are_found(backbones):
    llada, dream = backbones["llada"], backbones["dream"]
    assert llada.mask_token_id == token_id("llada", "<|mdm_mask|>")
    assert llada.end_token_ids == (token_id("llada", "<|endoftext|>"), token_id("llada", "<|eot_id|>"))
    assert llada.bos_token_id == token_id("llada", "<|startoftext|>")
    assert dream.mask_token_id == token_id("dream", "<|mask|>")
    assert dream.end_token_ids == (token_id("dream", "<|endoftext|>"), token_id("dream", "<|im_end|>"))
    # The config's start of text is the end of text; the tokenizer's is the one that prompts begin with.
    assert dream.bos_token_id == token_id("dream", "<|beginoftext|>")


def test_chat_templates_are_those_of_the_checkpoint(backbones):
    chat = [{"role": "user", "content": "Hi"}]
    llada = backbones["llada"].tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert llada.startswith("<|startoftext|><|start_header_id|>user") and llada.endswith("<|end_header_id|>\n\n")
    dream = backbones["dream"].tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert dream.startswith("<|im_start|>system") and dream.endswith("<|im_start|>assistant\n")


def test_without_tokenizer_files_there_is_none_and_the_config_decides(tmp_path, family):
    backbone = load_backbone(str(make_checkpoint(tmp_path, family, tokenizer=False)), device="cpu")
    assert backbone.tokenizer is None
    assert backbone.end_token_ids == (token_id(family, "<|endoftext|>"),)
    assert backbone.bos_token_id == (None if family == "llada" else token_id(family, "<|endoftext|>"))


def test_no_code_of_the_checkpoint_is_run_and_nobody_is_asked(checkpoints, family, tmp_path, monkeypatch):
    folder = shutil.copytree(checkpoints[family], tmp_path / "with_code")
    for module in (
        "tokenization_dream",
        "modeling_dream",
        "configuration_dream",
        "modeling_llada",
        "configuration_llada",
    ):
        (folder / f"{module}.py").write_text("raise SystemExit('the code of the checkpoint was run')")
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("somebody was asked"))
    load_backbone(str(folder), device="cpu")


class Rules:
    """Special tokens of the tiny LLaDA under changed configs."""

    def __init__(self, folder):
        self.family = KNOWN[0]
        self.folder = folder

    def mask(self, *, tokenizer=True, explicit=None, **changes):
        edit_config(self.folder, **changes)
        return special_tokens(
            RawConfig.read(self.folder),
            load_tokenizer(self.folder, self.family) if tokenizer else None,
            vocab_size=512,
            family=self.family,
            mask_token_id=explicit,
        )


@pytest.fixture
def rules(tmp_path):
    return Rules(make_checkpoint(tmp_path))


def test_the_mask_is_the_first_known_of_option_config_tokenizer_and_added_tokens(rules):
    added = token_id("llada", "<|mdm_mask|>")
    assert rules.mask(explicit=7, mask_token_id=8).mask_token_id == 7
    assert rules.mask(explicit=0, mask_token_id=8).mask_token_id == 0
    assert rules.mask(mask_token_id=8, tokenizer=False).mask_token_id == 8
    assert rules.mask(mask_token_id=added).mask_token_id == rules.mask(mask_token_id=...).mask_token_id == added
    path = rules.folder / "tokenizer_config.json"
    path.write_text(path.read_text().replace('"bos_token"', '"mask_token": "<|start_header_id|>", "bos_token"'))
    declared = token_id("llada", "<|start_header_id|>")
    assert rules.mask().mask_token_id == rules.mask(mask_token_id=declared).mask_token_id == declared
    with pytest.raises(UsageError, match=f"got {added} here and {declared} "):
        rules.mask(mask_token_id=added)  # what the tokenizer declares counts, not what else it has


def test_several_ends_of_text_in_the_config_all_count(rules):
    assert rules.mask(eos_token_id=[9, 401]).end_token_ids == (9, 401, 405)
    assert rules.mask(eos_token_id=None).end_token_ids == (401, 405)
    assert rules.mask(eos_token_id=9, tokenizer=False).end_token_ids == (9,)


@pytest.mark.parametrize("panics", [True, False])
def test_a_panic_in_the_library_of_tokenizers_is_one_line_and_an_interrupt_stays_one(tmp_path, panics, monkeypatch):
    """A panic of Rust code arrives as an exception that is no `Exception`; as of a file that fuzzing found."""
    panic = type("PanicException", (BaseException,), {})
    family, raised = KNOWN[0], panic("range end index 12 out of range") if panics else KeyboardInterrupt()

    def load(self, folder):
        raise raised

    monkeypatch.setattr(type(family), "load_tokenizer", load)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UsageError if panics else KeyboardInterrupt) as caught:
        load_tokenizer(tmp_path, family)
    assert not panics or "PanicException: range end index 12" in str(caught.value)
