"""Files of one base: its corpus, problems of every split, and the configuration and tokenizer it starts from."""

import json
import random
from pathlib import Path
from typing import Any

from ..prepare import network_config, write_lines
from ..splits import Split
from ..vocabulary import build_tokenizer, write_tokenizer
from .settings import DELIMITER, Settings
from .world import World


NUM_TOKENIZER_DOCUMENTS = 20_000
PROBLEMS: dict[str, Split] = {"problems": "train", "development": "validation", "test": "test"}
"""Files of problems with gold solutions, and the split that each is drawn from."""


def data_settings(settings: Settings, seed: int) -> dict[str, Any]:
    """All that the files depend on."""
    numbers = ("num_documents", "num_problems", "num_development", "num_test", "sizes")
    return {"seed": seed, "world": dict(settings.world), **{name: getattr(settings, name) for name in numbers}}


def prepare(settings: Settings, seed: int, folder: Path) -> dict[str, Any]:
    """Write `corpus.jsonl`, a file for each of `PROBLEMS`, and `start/`."""
    world = World(seed=seed, **settings.world)
    rng = random.Random(f"corpus {seed}")
    corpus = [world.document(rng, world.draw_story(rng, "train")) for _ in range(settings.num_documents)]
    write_lines(folder / "corpus.jsonl", corpus)
    for name, split in PROBLEMS.items():
        own = random.Random(f"{name} {seed}")
        number = getattr(settings, f"num_{name}")
        write_lines(folder / f"{name}.jsonl", [world.problem(world.draw_story(own, split)) for _ in range(number)])
    sample = [text for document in corpus[:NUM_TOKENIZER_DOCUMENTS] for text in (*document.values(), DELIMITER)]
    tokenizer = build_tokenizer(sample)
    write_tokenizer(tokenizer, folder / "start")
    config = network_config(tokenizer, **settings.sizes)
    (folder / "start" / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return {"misread_pairs": len(world.misread), "pairs": len(world.signs)}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All objects of a file of JSON Lines."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
