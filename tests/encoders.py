"""Tiny random encoders as transformers saves them, with tokenizers that put something around a text."""

import math
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedTokenizerFast

from tests.tiny import MERGE_TEXT


SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(5)
NUM_TOKENS, ROWS = 400, 416
WIDTHS: dict[str, Any] = {
    "vocab_size": ROWS,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "max_position_embeddings": 140,
    "pad_token_id": PAD,
    "bos_token_id": CLS,
    "eos_token_id": SEP,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 24},
    "bert": {},
    "camembert": {},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
    "distilbert": {"dim": 48, "n_layers": 2, "n_heads": 4, "hidden_dim": 80},
    "electra": {"embedding_size": 24},
    "esm": {"mask_token_id": MASK, "position_embedding_type": "rotary", "token_dropout": True},
    "eurobert": {"num_key_value_heads": 2, "mask_token_id": MASK},
    "modernbert": {
        "local_attention": 16,
        "global_attn_every_n_layers": 2,
        "num_hidden_layers": 3,
        "cls_token_id": CLS,
        "sep_token_id": SEP,
    },
    "mpnet": {},
    "roberta": {},
    "xlm-roberta": {},
}
"""What each model type has beside `WIDTHS`."""
OTHERS: dict[str, dict[str, Any]] = {"fnet": {}, "luke": {"entity_vocab_size": 20, "entity_emb_size": 16}}
"""The same for model types that run canvas by canvas."""


def make_network(model_type: str, seed: int = 0, **options: Any) -> Any:
    """A network with lively random weights; masks differ by where they stand."""
    config = AutoConfig.for_model(model_type, **{**WIDTHS, **{**OPTIONS, **OTHERS}[model_type], **options})
    network = AutoModelForMaskedLM.from_config(config).eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            scale = 0.15 if "embeddings" in name else 2.0 / math.sqrt(weight.shape[-1])
            if weight.dim() > 1:
                weight.copy_(scale * torch.randn(weight.shape, generator=draw))
            elif name.endswith("bias"):
                weight.copy_(0.2 * torch.randn(weight.shape, generator=draw))
    return network


def make_tokenizer(**changes: Any) -> PreTrainedTokenizerFast:
    """Byte-level BPE, with [CLS] before and [SEP] behind a text."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        [MERGE_TEXT],
        trainers.BpeTrainer(
            vocab_size=NUM_TOKENS, initial_alphabet=alphabet, special_tokens=list(SPECIAL), show_progress=False
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=140, **{**names, "mask_token": "[MASK]", **changes}
    )


def make_encoder(path: Path, model_type: str = "bert", *, seed: int = 0, **options: Any) -> Path:
    """Write a checkpoint into `path`; `options` are those of its config. Returns `path`."""
    make_network(model_type, seed, **options).save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    return path
