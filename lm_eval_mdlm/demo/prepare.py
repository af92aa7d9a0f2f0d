"""`python -m lm_eval_mdlm.demo.prepare OUT`: everything the demo checkpoint is trained from, from one seed.

Writes OUT/train.jsonl, OUT/validation.jsonl, OUT/word_problems.jsonl and OUT/puzzles.jsonl (the test problems), and
OUT/start: the configuration and the tokenizer.
"""

import argparse
import dataclasses
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from .puzzles import draw_puzzle
from .splits import Split
from .vocabulary import END, MASK, MAX_LENGTH, build_tokenizer, write_tokenizer
from .word_problems import DELIMITER, draw_word_problem


PUZZLE_SHARE = 0.15
NUM_TEST = 600
NUM_VALIDATION = 1000
NUM_TOKENIZER_EXAMPLES = 20_000


def draw_records(seed: int, split: Split, *, num_word_problems: int, num_puzzles: int) -> list[dict[str, str]]:
    """Training records of one split, word problems first."""
    words, puzzles = random.Random(f"words {split} {seed}"), random.Random(f"puzzles {split} {seed}")
    drawn: list[Any] = [draw_word_problem(words, split) for _ in range(num_word_problems)]
    drawn += [draw_puzzle(puzzles, split) for _ in range(num_puzzles)]
    return [dataclasses.asdict(record) for record in drawn]


def network_config(tokenizer: Tokenizer, **sizes: int) -> dict[str, Any]:
    """A config.json of the LLaDA family; sizes: d_model, n_layers, n_heads, mlp_hidden_size."""
    vocabulary_size = tokenizer.get_vocab_size()
    return {
        "architectures": ["LLaDAModelLM"],
        "model_type": "llada",
        **sizes,
        "n_kv_heads": sizes["n_heads"],
        "vocab_size": vocabulary_size,
        "embedding_size": -(-vocabulary_size // 16) * 16,
        "max_sequence_length": MAX_LENGTH,
        "mask_token_id": tokenizer.token_to_id(MASK),
        "eos_token_id": tokenizer.token_to_id(END),
        "pad_token_id": tokenizer.token_to_id(END),
        "weight_tying": False,
        "include_bias": False,
        "include_qkv_bias": False,
        "rope": True,
        "rope_full_precision": True,
        "rope_theta": 10000.0,
        "alibi": False,
        "block_type": "llama",
        "block_group_size": 1,
        "activation_type": "silu",
        "layer_norm_type": "rms",
        "layer_norm_with_affine": True,
        "rms_norm_eps": 1e-05,
        "attention_layer_norm": False,
        "bias_for_layer_norm": False,
        "scale_logits": False,
        "input_emb_norm": False,
    }


def prepare(out: Path, *, seed: int, num_train: int, **sizes: int) -> None:
    """Write all files; see the module's docstring."""
    num_puzzles = round(PUZZLE_SHARE * num_train)
    train = draw_records(seed, "train", num_word_problems=num_train - num_puzzles, num_puzzles=num_puzzles)
    held_out = round(PUZZLE_SHARE * NUM_VALIDATION)
    validation = draw_records(seed, "validation", num_word_problems=NUM_VALIDATION - held_out, num_puzzles=held_out)
    tokenizer = build_tokenizer(
        text for record in [*train[:NUM_TOKENIZER_EXAMPLES], *train[-1000:]] for text in (*record.values(), DELIMITER)
    )
    write_tokenizer(tokenizer, out / "start")
    config = network_config(tokenizer, **sizes)
    (out / "start" / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write_lines(out / "train.jsonl", train)
    write_lines(out / "validation.jsonl", validation)
    write_lines(out / "word_problems.jsonl", draw_records(seed, "test", num_word_problems=NUM_TEST, num_puzzles=0))
    write_lines(out / "puzzles.jsonl", draw_records(seed, "test", num_word_problems=0, num_puzzles=NUM_TEST))


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object per line."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m lm_eval_mdlm.demo.prepare", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--seed", type=int, default=0, help="decides every file")
    parser.add_argument("--num-train", type=int, default=300_000, help="training examples")
    for name, default in (("d_model", 192), ("n_layers", 6), ("n_heads", 6), ("mlp_hidden_size", 512)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help="of the network")
    prepare(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
