"""Files of checkpoints and adapters: a network that fits, or one line, and no memory taken."""

import json
import shutil
import tracemalloc
from pathlib import Path

from hypothesis import strategies as st

from lm_eval_mdlm.checkpoints.adapter import Adapter
from lm_eval_mdlm.checkpoints.checkpoint import Checkpoint
from lm_eval_mdlm.checkpoints.encoders import _outline
from lm_eval_mdlm.checkpoints.families.known import FAMILIES, family_of
from lm_eval_mdlm.checkpoints.families.stored_form import stored_shapes
from lm_eval_mdlm.checkpoints.low_rank import LowRankUpdate
from lm_eval_mdlm.checkpoints.raw_config import RawConfig
from lm_eval_mdlm.checkpoints.tokenizer import load_tokenizer, special_tokens
from lm_eval_mdlm.checkpoints.weights import check_weights, expected_weights, stored_weights, weight_files
from tests.fuzz.inputs import changed, damaged, fuzz, sizes, told
from tests.tiny import dream_config, llada_config, make_checkpoint
from tests.tiny_families import FAMILIES as MORE_FAMILIES, make_config


SHAPE = {"hidden": 64, "layers": 2, "heads": 4, "kv_heads": 4, "ffn": 96, "vocab": 512, "max_length": 512}
CONFIGS = tuple(make(**SHAPE, tied=False, qkv_bias=False) for make in (llada_config, dream_config))
MORE_CONFIGS = tuple(make_config(family, **SHAPE, tied=False, first_added=480) for family in MORE_FAMILIES)
BERT = {"model_type": "bert", "architectures": ["BertForMaskedLM"], "vocab_size": 512, "hidden_size": 64}
ENCODER = {**BERT, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, "type_vocab_size": 2}
ALL_CONFIGS = (*CONFIGS, *MORE_CONFIGS, ENCODER)
MOST_MEMORY = 50e6
"""Bytes that Python may take for one configuration."""
SHARDS = {"a": "x.safetensors", "b": "y.safetensors"}


def as_bytes(value):
    return json.dumps(value).encode()


@sizes(120, 12_000)
def test_a_configuration_is_refused_or_becomes_one_of_transformers(number, tmp_path):
    def check(content):
        (tmp_path / "config.json").write_bytes(content)
        tracemalloc.start()
        try:
            raw = told(lambda: RawConfig.read(tmp_path))
            family = raw and told(lambda: family_of(raw))
            architecture = family and told(lambda: family.architecture(raw))
            taken = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert taken < MOST_MEMORY
        if architecture:
            assert architecture.config.hidden_size % architecture.config.num_attention_heads == 0
            told(lambda: special_tokens(raw, None, vocab_size=architecture.config.vocab_size, family=family))

    fuzz(number, check, changed(*CONFIGS, most=2).map(as_bytes) | damaged(*map(as_bytes, CONFIGS)))


@sizes(120, 12_000)
def test_sizes_beyond_all_measure_are_refused_or_have_shapes(number, tmp_path):
    def check(choice):
        config, names, value = choice
        (tmp_path / "config.json").write_bytes(as_bytes({**config, **dict.fromkeys(names, value)}))
        raw = RawConfig.read(tmp_path)
        family = family_of(raw)
        tracemalloc.start()
        try:
            architecture = told(lambda: family.architecture(raw))
            if architecture and architecture.config.num_hidden_layers <= 8:  # more of them take time, and tell no more
                if family.encoder:
                    told(lambda: _outline(raw, architecture))
                else:
                    shapes = told(lambda: expected_weights(architecture))
                    stored_shapes(architecture.stored_forms, shapes)
            taken = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert taken < MOST_MEMORY

    def choices(config):
        numbers = [name for name, value in config.items() if type(value) is int and not name.endswith("_id")]
        some = st.just(numbers) | st.lists(st.sampled_from(numbers), min_size=1, max_size=4)
        return st.tuples(st.just(config), some, st.sampled_from([1, 2, 3, 64, 1024, 4096, 10**6, 2**24, 10**9, 10**30]))

    fuzz(number, check, st.one_of(*map(choices, ALL_CONFIGS)))


@sizes(150, 6_000)
def test_an_index_names_files_of_its_folder_or_is_refused(number, tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()

    def check(content):
        (folder / "model.safetensors.index.json").write_bytes(content)
        files = told(lambda: weight_files(folder)) or []
        assert all(file.resolve().parent == folder.resolve() for file in files)

    odd = st.sampled_from(["../x.safetensors", "/x.safetensors", "a/../../x.safetensors", ".safetensors", "..", "\0"])
    index = {"metadata": {"total_size": 1}, "weight_map": SHARDS}
    named = st.dictionaries(st.text(max_size=3), odd | st.text(max_size=9)).map(lambda own: {"weight_map": own})
    fuzz(number, check, (changed(index) | named).map(as_bytes) | damaged(as_bytes(index)))


@sizes(120, 5_000)
def test_a_damaged_file_of_weights_is_refused_or_has_the_shapes_of_the_network(number, checkpoints, tmp_path):
    folder = Path(shutil.copytree(checkpoints["llada"], tmp_path / "checkpoint"))
    architecture = FAMILIES[0].architecture(RawConfig.read(folder))
    whole = (folder / "model.safetensors").read_bytes()
    length = 8 + int.from_bytes(whole[:8], "little")
    claims = json.loads(whole[8:length])
    expected = {weight.name for weight in stored_weights(folder)}

    def check(header):
        (folder / "model.safetensors").write_bytes(header + whole[length:])
        found = told(lambda: check_weights(folder, architecture))
        assert found is None or {weight.name for weight in found.values()} == expected

    def header(value):
        content = as_bytes(value)
        return len(content).to_bytes(8, "little") + content

    fuzz(number, check, changed(claims, most=2).map(header) | damaged(whole[:length]))


@sizes(80, 4_000)
def test_the_configuration_of_an_adapter_is_refused_or_read(number, checkpoints, tmp_path):
    base = checkpoints["llada"]
    architecture = FAMILIES[0].architecture(RawConfig.read(base))
    stored = check_weights(base, architecture)
    shutil.copy(base / "model.safetensors", tmp_path / "adapter_model.safetensors")

    def check(content):
        (tmp_path / "adapter_config.json").write_bytes(content)
        adapter = told(lambda: Adapter.open(str(tmp_path)))
        if adapter is not None:
            told(lambda: adapter.scaling(2))
            told(lambda: adapter.refuse_another_base(Checkpoint.open(str(base))))
            told(lambda: LowRankUpdate(adapter, stored, architecture))

    sound = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none"}
    patterns = st.sampled_from([r"(a+)+$", "(", ".*" * 9, "[", r"model\..*", "a" * 2000])
    more = patterns.map(lambda pattern: {**sound, "target_modules": pattern})
    named = changed(sound, {**sound, "base_model_name_or_path": str(base)})
    fuzz(number, check, (named | more).map(as_bytes) | damaged(as_bytes(sound)))


@sizes(25, 1_500)
def test_damaged_files_of_a_tokenizer_are_refused_or_give_tokens(number, tmp_path):
    folder = make_checkpoint(tmp_path / "llada", "llada")
    sound = {name: (folder / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")}
    raw = RawConfig.read(folder)

    def check(name, *contents):
        for own, content in zip(sound, contents, strict=True):
            (folder / own).write_bytes(content if own == name else sound[own])
        tokenizer = told(lambda: load_tokenizer(folder, FAMILIES[0]))
        if tokenizer is not None:
            size = raw.values["vocab_size"]
            tokens = told(lambda: special_tokens(raw, tokenizer, vocab_size=size, family=FAMILIES[0]))
            assert tokens is None or tokens.mask_token_id not in tokens.end_token_ids

    parts = [changed(json.loads(content), most=2).map(as_bytes) | damaged(content) for content in sound.values()]
    fuzz(number, check, st.sampled_from(list(sound)), *parts)
