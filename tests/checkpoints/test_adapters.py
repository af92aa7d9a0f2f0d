"""Adapters beside their base: what the merged checkpoint would be, to the bit, or one line. The oracle is peft."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from lm_eval_mdlm import UsageError, load_backbone
from lm_eval_mdlm.backbones.packed import PackedBackbone
from lm_eval_mdlm.checkpoints import load
from lm_eval_mdlm.checkpoints.checkpoint import Checkpoint
from lm_eval_mdlm.checkpoints.families.llada import BLOCK_PARTS
from lm_eval_mdlm.commands.merge import main as merge
from lm_eval_mdlm.running.known import identity_of
from lm_eval_mdlm.training.networks import Source
from tests.checkpoints.test_hub import COMMITS, store
from tests.tiny import make_checkpoint


pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # of peft
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make_adapter(folder: Path, base: Path, *, seed: int = 0, dtype: torch.dtype = torch.float32, **options) -> Path:
    """An adapter of random matrices, written by peft."""
    config = LoraConfig(**{"r": 3, "lora_alpha": 8, "target_modules": LINEAR, **options})
    adapted = get_peft_model(Source.open(str(base)).load(torch.float32).network, config)
    draw = torch.Generator().manual_seed(seed)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=draw).to(dtype) / 4
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


def in_names_of_the_hub(adapter: Path) -> Path:
    """The same adapter as one that was trained on the network code published with LLaDA."""
    theirs = {ours: name for name, ours in BLOCK_PARTS.items()}
    renamed = {}
    for name, matrix in load_file(adapter / "adapter_model.safetensors").items():
        before, layer, rest = name.partition(".layers.")[0], *name.partition(".layers.")[2].split(".", 1)
        part, _, tail = rest.partition(".lora_")
        renamed[f"{before}.transformer.blocks.{layer}.{theirs[part]}.lora_{tail}"] = matrix
    save_file(renamed, adapter / "adapter_model.safetensors")
    edit(
        adapter,
        target_modules=[
            "q_proj",
            "k_proj",
            "v_proj",
            "attn_out",
            "ff_proj",
            "up_proj",
            "blocks.0.ff_out",
            "blocks.1.ff_out",
        ],
    )
    return adapter


def edit(adapter: Path, **options) -> Path:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **options}))
    return adapter


def network(base: Path | str, **options):
    """The network that `load_backbone` makes of a checkpoint."""
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "PackedBackbone", lambda own, **more: made.append(own) or PackedBackbone(own, **more))
        load_backbone(str(base), **{"device": "cpu", **options})
    return made[0]


def weights(base: Path | str, **options) -> dict[str, torch.Tensor]:
    return dict(network(base, **options).named_parameters())


def merged(tmp_path: Path, base: Path, adapter: Path, dtype: str) -> dict[str, torch.Tensor]:
    out = tmp_path / f"merged {dtype}"
    merge(["--pretrained", str(base), "--adapter", str(adapter), "--out", str(out), "--dtype", dtype])
    return weights(out, dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=str)
def test_network_with_its_adapter_is_the_merged_checkpoint_to_the_bit(tmp_path, family, stored, dtype):
    base = make_checkpoint(tmp_path / "base", family, dtype=stored, sharded=True)
    adapter = make_adapter(tmp_path / "adapter", base)
    expected = merged(tmp_path, base, adapter, dtype)
    ours = weights(base, dtype=dtype, peft=str(adapter))
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in ours)
    plain = weights(base, dtype=dtype)
    changed = {name for name in ours if not torch.equal(ours[name], plain[name])}
    assert changed == {name for name in ours if name.split(".")[-2] in LINEAR and name.endswith("weight")}


KINDS = {
    "rsLoRA": {"use_rslora": True},
    "ranks of their own": {"rank_pattern": {"q_proj": 5}},
    "some layers": {"layers_to_transform": [1]},
    "a pattern of names": {"target_modules": r".*\.1\.self_attn\.[qk]_proj"},
    "the head too": {"target_modules": ["lm_head", "q_proj"]},
    "in bfloat16": {"dtype": torch.bfloat16},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_kinds_of_adapters(tmp_path, options):
    base = make_checkpoint(tmp_path / "base")
    adapter = make_adapter(tmp_path / "adapter", base, **options)
    expected = merged(tmp_path, base, adapter, "float32")
    ours = weights(base, peft=str(adapter))
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


def test_adapter_in_the_names_of_the_hub(tmp_path):
    base = make_checkpoint(tmp_path / "base")
    adapter = make_adapter(tmp_path / "adapter", base)
    expected = weights(base, peft=str(adapter))
    ours = weights(base, peft=str(in_names_of_the_hub(adapter)))
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


def test_tied_weights_stay_one(tmp_path):
    base = make_checkpoint(tmp_path / "base", "dream", tied=True)
    adapter = make_adapter(tmp_path / "adapter", base)
    expected = merged(tmp_path, base, adapter, "float32")
    tied = network(base, peft=str(adapter))
    assert tied.lm_head.weight is tied.model.embed_tokens.weight
    assert all(torch.equal(weight, expected[name]) for name, weight in tied.named_parameters())


def test_spread_network_has_the_same_weights_and_layers_on_disk_are_refused(tmp_path):
    base = make_checkpoint(tmp_path / "base")
    adapter = str(make_adapter(tmp_path / "adapter", base))
    whole = weights(base, peft=adapter)
    spread = weights(base, device=None, device_map={"": "cpu"}, peft=adapter)
    assert all(torch.equal(spread[name], whole[name]) for name in whole)
    places = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk"}
    rest = {"model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    with pytest.raises(
        UsageError, match=r"device_map leaves model\.layers\.1\.\S+ in the host's memory or on the disk"
    ):
        load_backbone(str(base), device_map=places | rest, peft=adapter)


def test_results_of_another_adapter_or_of_none_are_told_apart(tmp_path):
    base = make_checkpoint(tmp_path / "base")
    folders = [make_adapter(tmp_path / name, base, seed=seed) for name, seed in (("a", 0), ("b", 1))]
    (tmp_path / "moved").mkdir()
    folders.append(shutil.copytree(folders[0], tmp_path / "moved" / "a"))
    folders.append(edit(shutil.copytree(folders[0], tmp_path / "c"), lora_alpha=9))
    one, other, copy, scaled = (load_backbone(str(base), device="cpu", peft=str(folder)) for folder in folders)
    plain = load_backbone(str(base), device="cpu")
    assert identity_of(one) == identity_of(copy)
    assert len({json.dumps(identity_of(b), sort_keys=True) for b in (one, other, scaled, plain)}) == 4
    assert one.description["fingerprint"] == plain.description["fingerprint"]
    assert one.description["peft"] == str(folders[0]) and "adapter" not in plain.description


def refusal(base: Path | str, adapter: Path | str) -> str:
    with pytest.raises(UsageError) as caught:
        load_backbone(str(base), device="cpu", peft=str(adapter))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("base"))


@pytest.fixture
def adapter(tmp_path, base) -> Path:
    return make_adapter(tmp_path / "adapter", base)


def test_adapter_of_another_base_is_refused_by_what_it_remembers(tmp_path, base, adapter):
    other = make_checkpoint(tmp_path / "other", seed=1)
    assert f"was trained on {base}, and pretrained={other} is another checkpoint" in refusal(other, adapter)
    copy = shutil.copytree(base, tmp_path / "copy")
    load_backbone(str(copy), device="cpu", peft=str(adapter))


def test_record_of_the_base_goes_with_the_adapter(tmp_path, base, adapter):
    from lm_eval_mdlm.checkpoints.adapter import record_base

    record_base(adapter, Checkpoint.open(str(base)))
    edit(adapter, base_model_name_or_path="/gone")
    load_backbone(str(base), device="cpu", peft=str(adapter))
    other = make_checkpoint(tmp_path / "other", seed=1)
    assert "is another checkpoint" in refusal(other, adapter)


def test_a_base_that_cannot_be_compared_is_said(base, adapter, caplog):
    edit(adapter, base_model_name_or_path="GSAI-ML/LLaDA-8B-Base")
    load_backbone(str(base), device="cpu", peft=str(adapter))
    assert "was trained on GSAI-ML/LLaDA-8B-Base; whether" in caplog.text


NOT_MERGED = {
    "use_dora": True,
    "modules_to_save": ["lm_head"],
    "alpha_pattern": {"q_proj": 4},
    "bias": "all",
    "lora_bias": True,
    "init_lora_weights": "pissa",
    "peft_type": "IA3",
    "layer_replication": [[0, 1]],
    "something_new": 3,
}


@pytest.mark.parametrize("option", NOT_MERGED)
def test_adapters_that_are_more_than_two_matrices_are_refused_by_the_option(base, adapter, option):
    said = refusal(base, edit(adapter, **{option: NOT_MERGED[option]}))
    assert f"{option}={NOT_MERGED[option]!r} are not merged" in said and "lm-eval-mdlm merge" in said


def test_options_that_are_off_are_accepted(base, adapter):
    load_backbone(str(base), device="cpu", peft=str(edit(adapter, something_new=None, another={}, third=False)))


def change(adapter: Path, rule) -> Path:
    """Put the matrices through a rule, names with them."""
    matrices = load_file(adapter / "adapter_model.safetensors")
    save_file(dict(filter(None, (rule(n, m) for n, m in matrices.items()))), adapter / "adapter_model.safetensors")
    return adapter


Q = "base_model.model.model.layers.1.self_attn.q_proj.lora_"
DAMAGE = {
    "a matrix of another width": (lambda n, m: (n, m[:, :-1].clone() if n == f"{Q}A.weight" else m), "does not fit"),
    "ranks that differ": (lambda n, m: (n, m[:, :-1].clone() if n == f"{Q}B.weight" else m), "does not fit"),
    "half a pair": (lambda n, m: None if n == f"{Q}A.weight" else (n, m), "must have lora_A and lora_B"),
    "a layer that is not there": (lambda n, m: None if n.startswith(Q) else (n, m), "no matrices for model.layers.1."),
    "another kind of matrix": (lambda n, m: (n.replace("lora_A", "lora_C"), m), "is no low-rank matrix"),
    "a layer too many": (lambda n, m: (n.replace("layers.1", "layers.2"), m), "has no linear layer"),
    "no numbers": (lambda n, m: (n, m * float("nan")), "is not finite with it, as float32"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_adapters_that_are_not_whole_or_not_of_this_network_are_refused(base, adapter, damage):
    rule, named = DAMAGE[damage]
    assert named in refusal(base, change(adapter, rule))


def test_more_layers_than_the_configuration_names_are_refused(base, adapter):
    assert "it has matrices for" in refusal(base, edit(adapter, target_modules=["q_proj"]))


def test_folders_and_names_without_an_adapter_are_refused(tmp_path, base, adapter, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "must be a folder or a hub id" in refusal(base, tmp_path / "nothing here")
    assert "got no adapter_config.json" in refusal(base, base)
    assert "peft='owner/name'" in refusal(base, "owner/name@v1")
    (adapter / "adapter_model.safetensors").write_bytes(b"cut")
    assert "must be a whole safetensors file" in refusal(base, adapter)
    (adapter / "adapter_model.safetensors").unlink()
    assert "got no adapter_model.safetensors" in refusal(base, adapter)
    (adapter / "adapter_config.json").write_text("[")
    (adapter / "adapter_model.safetensors").touch()
    assert "must be a JSON object" in refusal(base, adapter)


def test_head_that_is_tied_is_not_adapted_alone(tmp_path):
    base = make_checkpoint(tmp_path / "base", "dream", tied=True)
    adapter = make_adapter(tmp_path / "adapter", base, target_modules=["q_proj"])
    matrices = load_file(adapter / "adapter_model.safetensors")
    matrices["base_model.model.lm_head.lora_A.weight"] = torch.zeros(3, 64)
    matrices["base_model.model.lm_head.lora_B.weight"] = torch.zeros(512, 3)
    save_file(matrices, adapter / "adapter_model.safetensors")
    assert "lm_head" in refusal(base, edit(adapter, target_modules=["q_proj", "lm_head"]))


def test_adapters_and_bases_of_the_hub(tmp_path, base, adapter, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    expected = weights(base, peft=str(adapter))
    edit(adapter, base_model_name_or_path="someone/base")
    for name in ("someone/base", "someone/other"):
        store(tmp_path / "hub", name, base, "main")
    store(tmp_path / "hub", "someone/adapter", adapter, "main")
    store(tmp_path / "hub", "someone/adapter", make_adapter(tmp_path / "old", base, seed=1), "old")
    new = load_backbone("someone/base", device="cpu", peft="someone/adapter")
    assert new.description["peft_commit_hash"] == COMMITS["main"]
    assert all(torch.equal(w, expected[n]) for n, w in weights("someone/base", peft="someone/adapter").items())
    old = load_backbone("someone/base", device="cpu", peft="someone/adapter@old")
    assert old.description["peft_commit_hash"] == COMMITS["old"]
    assert old.description["adapter"] != new.description["adapter"]
    assert "was trained on someone/base, and pretrained=someone/other" in refusal("someone/other", "someone/adapter")
