"""Tiny random checkpoints in the hubs' own layouts, built on the spot and the same on every machine.

The weights are random, the tokenizers are real: byte-level BPE with the families' special tokens and chat markers.
`python -m tests.tiny DIR [--family dream]` writes one.
"""

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from tests import tiny_families


FAMILIES = ("llada", "dream")
"""Those that most tests run over; `tests.tiny_families` has more, which `make_checkpoint` makes too."""
NUM_ORDINARY_TOKENS = 400  # 256 bytes, then merges
LLADA_TOKENS = (
    "<|startoftext|>",
    "<|endoftext|>",
    "<|mdm_mask|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
)
DREAM_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|beginoftext|>", "<|mask|>")
LLADA_CHAT = (
    "{{ bos_token }}{% for turn in messages %}"
    "{{ '<|start_header_id|>' ~ turn.role ~ '<|end_header_id|>\n\n' ~ turn.content | trim ~ '<|eot_id|>' }}"
    "{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
)
DREAM_CHAT = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou answer questions.<|im_end|>\n' }}{% endif %}"
    "{% for turn in messages %}{{ '<|im_start|>' ~ turn.role ~ '\n' ~ turn.content ~ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MERGE_TEXT = (
    "A baker sells 12 loaves in the morning and 3 times as many in the afternoon. How many loaves does she sell?\n"
    "She sells 12 * 3 = 36 loaves in the afternoon, so 12 + 36 = 48 loaves in all. The answer is \\boxed{48}.\n"
    "Question: What is the remainder when 2^{10} is divided by 7? Answer: Let us think step by step.\n"
    "def total(values: list[int]) -> int:\n    result = 0\n    for value in values:\n        result += value\n"
    "    return result\n\nimport math\n\nassert total([1, 2, 3]) == 6\n"
    "Therefore the final answer to this problem is the number of solutions of the equation, which is \\frac{1}{2}.\n"
)


def special_tokens(family: str) -> tuple[str, ...]:
    """The family's added tokens, in the order of their ids."""
    return {"llada": LLADA_TOKENS, "dream": DREAM_TOKENS, **tiny_families.TOKENS}[family]


def token_id(family: str, token: str) -> int:
    """Id of one of the family's added tokens: they follow the ordinary ones."""
    return NUM_ORDINARY_TOKENS + special_tokens(family).index(token)


def make_tokenizer(path: Path | str, family: str = "llada") -> Path:
    """Write the family's tokenizer files into `path`, laid out as on the hub; returns `path`."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [MERGE_TEXT],
        trainers.BpeTrainer(vocab_size=NUM_ORDINARY_TOKENS, initial_alphabet=sorted(alphabet), show_progress=False),
    )
    assert tokenizer.get_vocab_size() == NUM_ORDINARY_TOKENS
    settings: dict[str, Any] = {"clean_up_tokenization_spaces": False, "model_max_length": 10**30}
    if family != "dream":
        tokenizer.add_special_tokens(list(special_tokens(family)))
        tokenizer.save(str(path / "tokenizer.json"))
    if family in tiny_families.FAMILIES:
        settings |= tiny_families.TOKENIZER_SETTINGS[family]
    elif family == "llada":
        settings |= {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
        settings |= {"chat_template": LLADA_CHAT, "tokenizer_class": "PreTrainedTokenizerFast"}
    else:
        tokenizer.model.save(str(path))  # vocab.json and merges.txt, and no tokenizer.json: as Dream ships it
        settings |= {"bos_token": "<|beginoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
        settings |= {"mask_token": "<|mask|>", "add_bos_token": False, "chat_template": DREAM_CHAT}
        settings |= {"additional_special_tokens": ["<|beginoftext|>", "<|mask|>"], "tokenizer_class": "DreamTokenizer"}
        settings["auto_map"] = {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]}
        flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
        settings["added_tokens_decoder"] = {
            str(token_id(family, token)): {"content": token, **flags} for token in DREAM_TOKENS
        }
    (path / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
    return path


def make_checkpoint(
    path: Path | str,
    family: str = "llada",
    *,
    seed: int = 0,
    sharded: bool = False,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int | None = None,
    ffn: int = 96,
    vocab: int = 512,
    max_length: int = 512,
    tied: bool = False,
    qkv_bias: bool = False,
    head_scale: float = 6.0,
    dtype: torch.dtype = torch.float32,
    tokenizer: bool = True,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write config.json, safetensors and tokenizer files as the family's hub repositories have them; returns `path`.

    `head_scale` multiplies the output head: at 6 some positions are nearly certain and others are not. `kv_heads`
    defaults to `heads` (LLaDA, LLaDA-MoE) or half of them. `qkv_bias` concerns LLaDA; Dream always has these biases.
    `config` replaces or adds entries of config.json after the weights are made, for checkpoints that should be refused.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    kv_heads = kv_heads or (heads if family in ("llada", "llada_moe") else heads // 2)
    sizes = {"hidden": hidden, "layers": layers, "heads": heads, "kv_heads": kv_heads, "ffn": ffn, "vocab": vocab}
    if family in tiny_families.FAMILIES:
        shape = {**sizes, "tied": tied}
        options = tiny_families.make_config(family, **shape, max_length=max_length, first_added=NUM_ORDINARY_TOKENS)
        num_tokens = NUM_ORDINARY_TOKENS + len(special_tokens(family))
        weights = tiny_families.make_weights(family, **shape, seed=seed, head_scale=head_scale, num_tokens=num_tokens)
    else:
        write_config = {"llada": llada_config, "dream": dream_config}[family]
        options = write_config(**sizes, max_length=max_length, tied=tied, qkv_bias=qkv_bias)
        weights = make_weights(family, **sizes, seed=seed, tied=tied, qkv_bias=qkv_bias, head_scale=head_scale)
    (path / "config.json").write_text(json.dumps(options | dict(config or {}), indent=2))
    write_weights(path, {name: weight.to(dtype) for name, weight in weights.items()}, sharded=sharded)
    if tokenizer:
        make_tokenizer(path, family)
    return path


def llada_config(
    *, hidden: int, layers: int, heads: int, kv_heads: int, ffn: int, vocab: int, max_length: int, **flags: bool
) -> dict[str, Any]:
    """A config.json with every key of LLaDA-8B's."""
    end = token_id("llada", "<|endoftext|>")
    num_tokens = NUM_ORDINARY_TOKENS + len(LLADA_TOKENS)
    return {
        "architectures": ["LLaDAModelLM"],
        "auto_map": {"AutoConfig": "configuration_llada.LLaDAConfig", "AutoModel": "modeling_llada.LLaDAModelLM"},
        "model_type": "llada",
        **{"d_model": hidden, "n_layers": layers, "n_heads": heads, "n_kv_heads": kv_heads, "mlp_hidden_size": ffn},
        **{"vocab_size": num_tokens, "embedding_size": vocab, "max_sequence_length": max_length, "mlp_ratio": 4},
        **{"mask_token_id": token_id("llada", "<|mdm_mask|>"), "eos_token_id": end, "pad_token_id": end},
        **{"weight_tying": flags["tied"], "include_qkv_bias": flags["qkv_bias"], "include_bias": False},
        **{"rope": True, "rope_full_precision": True, "rope_theta": 500000.0, "alibi": False, "alibi_bias_max": 8.0},
        **{"block_type": "llama", "block_group_size": 1, "activation_type": "silu", "multi_query_attention": None},
        **{"layer_norm_type": "rms", "rms_norm_eps": 1e-05, "layer_norm_with_affine": True},
        **{"attention_layer_norm": False, "attention_layer_norm_with_affine": True, "bias_for_layer_norm": False},
        **{"scale_logits": False, "input_emb_norm": False, "flash_attention": False, "use_cache": False},
        **{"attention_dropout": 0.0, "embedding_dropout": 0.0, "residual_dropout": 0.0, "precision": "amp_bf16"},
        **{"init_cutoff_factor": None, "init_device": "meta", "init_fn": "mitchell", "init_std": 0.02},
        "transformers_version": "4.46.3",
    }


def dream_config(
    *, hidden: int, layers: int, heads: int, kv_heads: int, ffn: int, vocab: int, max_length: int, **flags: bool
) -> dict[str, Any]:
    """A config.json with every key of Dream-7B's."""
    end = token_id("dream", "<|endoftext|>")
    return {
        "architectures": ["DreamModel"],
        "auto_map": {"AutoConfig": "configuration_dream.DreamConfig", "AutoModel": "modeling_dream.DreamModel"},
        "model_type": "Dream",
        **{"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads},
        **{"num_key_value_heads": kv_heads, "intermediate_size": ffn, "vocab_size": vocab},
        **{"max_position_embeddings": max_length, "tie_word_embeddings": flags["tied"], "hidden_act": "silu"},
        **{"mask_token_id": token_id("dream", "<|mask|>"), "bos_token_id": end, "eos_token_id": end},
        **{"pad_token_id": end, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "rope_scaling": None},
        **{"use_sliding_window": False, "sliding_window": None, "max_window_layers": 28, "use_mrope": False},
        **{"attention_dropout": 0.0, "initializer_range": 0.02, "use_cache": True, "torch_dtype": "bfloat16"},
        "transformers_version": "4.46.2",
    }


def make_weights(
    family: str,
    *,
    hidden: int,
    layers: int,
    heads: int,
    kv_heads: int,
    ffn: int,
    vocab: int,
    seed: int,
    tied: bool,
    qkv_bias: bool,
    head_scale: float,
) -> dict[str, Tensor]:
    """Random weights under the family's own names, float32."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=draw) * scale / math.sqrt(shape[-1])

    def norm() -> Tensor:
        return 1.0 + 0.1 * torch.randn(hidden, generator=draw)

    kv = hidden // heads * kv_heads
    names = NAMES[family]
    # All masks share one embedding: only attention tells them apart, so that is sharp and the embedding small.
    weights = {names["embed"]: normal(vocab, hidden, scale=head_scale if tied else 0.8)}
    for layer in range(layers):
        block = {"input_norm": norm(), "post_norm": norm()}
        block |= {"q": normal(hidden, hidden, scale=4.0), "k": normal(kv, hidden, scale=4.0)}
        block |= {"v": normal(kv, hidden), "o": normal(hidden, hidden)}
        block |= {"gate": normal(ffn, hidden), "up": normal(ffn, hidden), "down": normal(hidden, ffn)}
        weights |= {f"{names['layers']}{layer}.{names[part]}.weight": weight for part, weight in block.items()}
        if family == "dream" or qkv_bias:
            for part, size in (("q", hidden), ("k", kv), ("v", kv)):
                weights[f"{names['layers']}{layer}.{names[part]}.bias"] = normal(size)
    weights[names["norm"]] = norm()
    if not tied:
        weights[names["head"]] = normal(vocab, hidden, scale=head_scale)
        # Rows past the tokenizer's ids are never proposed, as in a trained network.
        weights[names["head"]][NUM_ORDINARY_TOKENS + len(special_tokens(family)) :] = 0.0
    return weights


NAMES = {
    "llada": {
        "embed": "model.transformer.wte.weight",
        "layers": "model.transformer.blocks.",
        "norm": "model.transformer.ln_f.weight",
        "head": "model.transformer.ff_out.weight",
        **{"input_norm": "attn_norm", "post_norm": "ff_norm", "o": "attn_out"},
        **{"q": "q_proj", "k": "k_proj", "v": "v_proj", "gate": "ff_proj", "up": "up_proj", "down": "ff_out"},
    },
    "dream": {
        "embed": "model.embed_tokens.weight",
        "layers": "model.layers.",
        "norm": "model.norm.weight",
        "head": "lm_head.weight",
        **{"input_norm": "input_layernorm", "post_norm": "post_attention_layernorm", "o": "self_attn.o_proj"},
        **{"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj"},
        **{"gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"},
    },
}


def write_weights(path: Path, weights: Mapping[str, Tensor], *, sharded: bool = False, num_shards: int = 3) -> None:
    """One model.safetensors, or `num_shards` files and their index."""
    if not sharded:
        save_file(dict(weights), path / "model.safetensors", metadata={"format": "pt"})
        return
    index: dict[str, str] = {}
    for shard in range(num_shards):
        name = f"model-{shard + 1:05d}-of-{num_shards:05d}.safetensors"
        part = dict(list(weights.items())[shard::num_shards])
        save_file(part, path / name, metadata={"format": "pt"})
        index |= dict.fromkeys(part, name)
    total = sum(weight.numel() * weight.element_size() for weight in weights.values())
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=2)
    (path / "model.safetensors.index.json").write_text(text)


def random_ids(length: int, seed: int = 0) -> Tensor:
    """Token ids of a text, the same for the same length and seed."""
    return torch.randint(0, 400, (length,), generator=torch.Generator().manual_seed(1000 * seed + length))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.tiny", description="Write a tiny random checkpoint.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--family", choices=(*FAMILIES, *tiny_families.FAMILIES), default="llada")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(make_checkpoint(arguments.path, arguments.family, seed=arguments.seed))


if __name__ == "__main__":
    main()
