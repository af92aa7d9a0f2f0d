import hashlib
import json
import shutil

import pytest

from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.checkpoints.families.llada import LLaDA
from lm_eval_mdlm.checkpoints.fingerprint import fingerprint, tokenizer_fingerprint
from tests.tiny import make_checkpoint


def test_copies_are_equal_and_other_weights_configs_or_layouts_are_not(tmp_path):
    first = make_checkpoint(tmp_path / "first")
    copy = make_checkpoint(tmp_path / "copy")
    others = [
        make_checkpoint(tmp_path / "seed", seed=1),
        make_checkpoint(tmp_path / "length", max_length=1024),
        make_checkpoint(tmp_path / "sharded", sharded=True),
    ]
    assert fingerprint(first) == fingerprint(copy)
    assert len({fingerprint(first), *map(fingerprint, others)}) == 4


def test_last_bytes_count(tmp_path):
    folder = make_checkpoint(tmp_path / "one")
    before = fingerprint(folder)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert fingerprint(folder) != before


def test_replaced_weights_show_in_the_description(tmp_path):
    before = load_backbone(str(make_checkpoint(tmp_path, seed=0)), device="cpu").description
    after = load_backbone(str(make_checkpoint(tmp_path, seed=1)), device="cpu").description
    assert before["pretrained"] == after["pretrained"] and before["fingerprint"] != after["fingerprint"]


@pytest.mark.parametrize(
    "name",
    [
        *("tokenizer.json", "tokenizer_config.json", "tokenizer.4.0.0.json", "vocab.txt", "entity_vocab.json"),
        *("bpe.codes", "source.spm", "spiece.model", "qwen.tiktoken", "prophetnet.tokenizer"),
        *("chat_template.jinja", "additional_chat_templates/tools.jinja"),
    ],
)
def test_every_file_that_a_tokenizer_may_be_read_from_counts(tmp_path, name):
    folder = make_checkpoint(tmp_path)
    found = [tokenizer_fingerprint(folder)]
    (folder / name).parent.mkdir(exist_ok=True)
    for content in (b"x", b"y"):
        (folder / name).write_bytes(content)
        found.append(tokenizer_fingerprint(folder))
    assert len(set(found)) == 3


def test_what_no_tokenizer_reads_does_not_count(tmp_path):
    folder = make_checkpoint(tmp_path)
    before = tokenizer_fingerprint(folder)
    for name in ("generation_config.json", "model.safetensors.index.json", "training.json", "README.md", "note.py"):
        (folder / name).write_text("x")
    assert tokenizer_fingerprint(folder) == before


def test_an_ordinary_tokenizer_has_the_fingerprint_that_older_journals_know(tmp_path):
    folder = make_checkpoint(tmp_path)
    digest = hashlib.blake2b(digest_size=16)
    for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
        if (folder / name).exists():
            content = (folder / name).read_bytes()
            digest.update(f"('{name}', {len(content)})".encode() + content)
    assert tokenizer_fingerprint(folder) == digest.hexdigest()


def test_the_file_of_a_version_that_is_loaded_in_place_of_another_counts(tmp_path):
    folder = make_checkpoint(tmp_path)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["fast_tokenizer_files"] = ["tokenizer.json", "tokenizer.4.0.0.json"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    other = folder / "tokenizer.4.0.0.json"
    shutil.copy(folder / "tokenizer.json", other)
    before, size = tokenizer_fingerprint(folder), len(LLaDA().load_tokenizer(folder))
    content = json.loads(other.read_text())
    last = max(token["id"] for token in content["added_tokens"])
    content["added_tokens"].append({**content["added_tokens"][0], "id": last + 1, "content": "<new>"})
    other.write_text(json.dumps(content))
    assert len(LLaDA().load_tokenizer(folder)) == size + 1 and tokenizer_fingerprint(folder) != before
