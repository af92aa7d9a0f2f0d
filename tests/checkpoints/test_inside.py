"""Files of a checkpoint that lead elsewhere, or are beyond all measure: refused before anything of them is taken in."""

import json
import os
import pickle
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lm_eval_mdlm import UsageError, load_backbone
from lm_eval_mdlm.checkpoints.low_rank import _is_simple
from lm_eval_mdlm.checkpoints.weights import read_headers
from tests.checkpoints.plain import edit_config


@pytest.fixture
def folder(checkpoints, family, tmp_path):
    return Path(shutil.copytree(checkpoints[family], tmp_path / "checkpoint"))


def refusal(folder):
    with pytest.raises(UsageError) as caught:
        load_backbone(str(folder), device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def load(folder):
    return load_backbone(str(folder), device="cpu")


def as_index(folder, name):
    """The one weight file under another name, by an index."""
    weights = read_headers(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    index = {"metadata": {}, "weight_map": {weight.name: name for weight in weights}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_an_index_may_name_a_file_of_its_folder(folder):
    as_index(folder, "weights.safetensors")
    load(folder)


@pytest.mark.parametrize(
    "name", ["../weights.safetensors", "{}/weights.safetensors", "sub/weights.safetensors", 5, "."]
)
def test_an_index_names_no_weights_elsewhere(folder, name):
    as_index(folder, name if isinstance(name, int) else name.format(folder.parent))
    (folder / "sub").mkdir()
    for place in (folder.parent, folder / "sub"):  # where they would be found
        shutil.copy(folder / "weights.safetensors", place)
    assert "no name of a safetensors file in the same folder" in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "model.safetensors"])
def test_a_link_out_of_the_folder_is_refused(folder, name):
    moved = folder.parent / name
    (folder / name).rename(moved)
    (folder / name).symlink_to(moved)
    assert f"{folder / name} must be a file of its own folder" in refusal(folder)


def test_a_link_within_the_folder_is_followed(folder):
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    (folder / "model.safetensors").symlink_to("weights.safetensors")
    load(folder)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "model.safetensors"])
def test_a_pipe_is_not_waited_for(folder, name):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert "must be a file, got a pipe" in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja"])
def test_a_small_file_of_a_terabyte_is_not_read(folder, name):
    with (folder / name).open("ab") as file:
        file.truncate(2**40)
    assert "must have at most" in refusal(folder)


@pytest.mark.parametrize("what", ["a link", "a pipe", "a terabyte", "a folder that is a link"])
def test_templates_in_their_folder_are_files_of_the_checkpoint_too(folder, what):
    outside, templates = folder.parent / "outside", folder / "additional_chat_templates"
    outside.mkdir()
    (outside / "tools.jinja").write_text("secret")
    if what == "a folder that is a link":
        templates.symlink_to(outside)
        assert f"{templates} must be a file of its own folder" in refusal(folder)
        return
    templates.mkdir()
    template = templates / "tools.jinja"
    if what == "a link":
        template.symlink_to(outside / "tools.jinja")
        assert f"{template} must be a file of its own folder" in refusal(folder)
    elif what == "a pipe":
        os.mkfifo(template)
        assert f"{template} must be a file, got a pipe" in refusal(folder)
    else:
        with template.open("wb") as file:
            file.truncate(2**40)
        assert f"{template} must have at most" in refusal(folder)


def name_versions(folder, names):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "fast_tokenizer_files": names}))


@pytest.mark.parametrize(
    "name",
    [
        "../tokenizer.4.0.0.json",
        "{}/tokenizer.4.0.0.json",
        "sub/tokenizer.4.0.0.json",
        "tokenizer.4.0.0.json.x",
        5,
        None,
    ],
)
def test_a_tokenizer_of_another_version_is_not_looked_for_elsewhere(folder, name):
    name = name.format(folder.parent) if isinstance(name, str) else name
    name_versions(folder, ["tokenizer.json", name])
    (folder / "sub").mkdir()
    places = (
        folder.parent / "tokenizer.4.0.0.json",
        folder / "sub/tokenizer.4.0.0.json",
        folder / "tokenizer.4.0.0.json.x",
    )
    for place in places:  # where it would be found
        place.write_text("{}")
    assert "fast_tokenizer_files must be names of JSON files in the same folder" in refusal(folder)


def test_a_tokenizer_of_another_version_may_lie_in_the_folder(checkpoints, tmp_path):
    folder = Path(shutil.copytree(checkpoints["llada"], tmp_path / "checkpoint"))
    name_versions(folder, ["tokenizer.json", "tokenizer.4.0.0.json"])
    shutil.copy(folder / "tokenizer.json", folder / "tokenizer.4.0.0.json")
    load(folder)


SIZES = {
    "llada": ("d_model", "n_heads", "n_layers", "n_kv_heads", "mlp_hidden_size", "vocab_size", "max_sequence_length"),
    "dream": ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size", "max_position_embeddings"),
}


@pytest.mark.parametrize("value", [10**9, 10**12, 10**400], ids=["giga", "tera", "no_float"])
def test_absurd_sizes_are_refused_before_a_network_is_made(folder, family, value, monkeypatch):
    monkeypatch.setattr("lm_eval_mdlm.checkpoints.load.expected_weights", lambda architecture: pytest.fail("was made"))
    for name in SIZES[family]:
        before = (folder / "config.json").read_text()
        edit_config(folder, **{name: value})
        assert f"{name} must be a positive whole number of at most" in refusal(folder)
        (folder / "config.json").write_text(before)
    edit_config(folder, rms_norm_eps=10**400)
    assert "rms_norm_eps must be a positive number" in refusal(folder)


def header(claims, length=None):
    text = json.dumps(claims).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


ONE = {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}


@pytest.mark.parametrize(
    "content",
    [
        header({"x": ONE}),
        header({"x": ONE}, 2**60),
        header({"x": ONE}, 99_000_000),
        header({"x": {**ONE, "data_offsets": [0, 16]}}) + bytes(16),
        header({"x": {**ONE, "shape": [2**62, 2**62]}}) + bytes(16),
        header({"x": {**ONE, "shape": [-4], "data_offsets": [0, 16]}}) + bytes(16),
        header({"x": {**ONE, "shape": [4], "data_offsets": [16, 0]}}) + bytes(16),
    ],
)
def test_a_header_that_claims_more_than_the_file_has_is_refused(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    assert "must be a whole safetensors file" in refusal(folder)


def test_brackets_without_end_are_refused(folder):
    (folder / "config.json").write_text('{"a": ' + "[" * 200_000)
    assert "must be a JSON object" in refusal(folder)


class Payload:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (self.mark, "w")


def test_nothing_in_a_folder_is_run_or_unpickled(folder, tmp_path):
    mark = tmp_path / "mark"
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "adapter_model.bin"):
        (folder / name).write_bytes(pickle.dumps(Payload(str(mark))))
    code = f"open({str(mark)!r}, 'w')\n"
    for name in ("modeling_evil.py", "tokenization_evil.py", "configuration_evil.py", "setup.py"):
        (folder / name).write_text(code)
    classes = {
        "AutoConfig": "configuration_evil.C",
        "AutoModel": "modeling_evil.M",
        "AutoModelForCausalLM": "modeling_evil.M",
    }
    edit_config(folder, auto_map=classes)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": ["tokenization_evil.T", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    load(folder)
    (folder / "model.safetensors").unlink()
    assert "only safetensors weights are read" in refusal(folder)
    assert not mark.exists()


def test_weights_that_are_a_pickle_under_the_name_of_safetensors_are_refused(folder, tmp_path):
    (folder / "model.safetensors").write_bytes(pickle.dumps(Payload(str(tmp_path / "mark"))))
    refusal(folder)
    assert not (tmp_path / "mark").exists()


def test_a_chat_template_reaches_nothing_of_python(folder, tmp_path):
    mark = tmp_path / "mark"
    attack = "{{ cycler.__init__.__globals__.os.system('touch " + str(mark) + "') }}"
    tokenizer = load(folder).tokenizer
    with pytest.raises(Exception, match="unsafe"):
        tokenizer.apply_chat_template([{"role": "user", "content": "x"}], chat_template=attack, tokenize=False)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("pattern", "simple"),
    [
        (r".*\.(q_proj|v_proj)", True),
        (r"model\.layers\.\d+\.self_attn\.[qkvo]_proj", True),
        (r"(([a-z]|_|\.)+)+X", False),
        (r"(a*)*", False),
        (r"(a|aa){2,}", False),
        (".*" * 12 + "X", False),
        ("(", False),
        ("(" * 5000 + ")" * 5000, False),
    ],
)
def test_patterns_of_an_adapter_cannot_take_for_ever(pattern, simple):
    assert _is_simple(pattern) == simple


def test_a_file_of_the_adapter_may_not_lead_elsewhere_either(folder, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2}))
    save_file({"x": torch.zeros(1)}, tmp_path / "elsewhere.safetensors")
    (adapter / "adapter_model.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(UsageError, match="must be a file of its own folder"):
        load_backbone(str(folder), peft=str(adapter), device="cpu")
