"""Runs in the processes of a group, started by test_work_sharing.py: what each of them sees goes into a file."""

import os
import pickle
import sys
import time
from pathlib import Path

import torch

from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.answering import run
from lm_eval_mdlm.running.generation import RowRequest, generate
from lm_eval_mdlm.running.processes import ProcessGroup
from tests.engine.test_scheduling import MASK, PROMPTS, VOCAB, HashBackbone
from tests.toy import ScriptedBackbone


WORLD = 3
SLOW, FAST = 16, 4  # forward passes per row
SAMPLED = {"sampler": "confidence_factor", "temperature": 0.7, "gen_length": 24, "block_length": 8}


def request(prompt=(7,), **options) -> RowRequest:
    return RowRequest(prompt_ids=list(prompt), config=DecodingConfig.from_options(options), record_steps=True)


class Paced(ScriptedBackbone):
    """Passes take the same time in every process, however busy the machine is."""

    def __init__(self, **options) -> None:
        super().__init__(lambda canvas: [5] * len(canvas), vocab_size=VOCAB, mask_token_id=MASK, **options)

    def states(self, token_ids, lengths, wanted):
        time.sleep(0.02)
        return super().states(token_ids, lengths, wanted)


SKEWED = [
    [request([2 + i], gen_length=SLOW) for i in range(12)],
    [request([20 + i], gen_length=FAST) for i in range(12)],
    [],
]
MIXED = [
    [[request(p, **SAMPLED) for p in PROMPTS[a:b]] for a, b in parts]
    for parts in ([(0, 7), (7, 8), (8, 8)], [(0, 0), (9, 9), (9, 14)])
]


def caught(work) -> str:
    """What `work` raises, as text; to be compared in another process."""
    try:
        return f"returned {work()}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def shared_run(group: ProcessGroup, backbone, sections, **options):
    finished = []
    decoded = run(
        backbone,
        sections,
        group=group,
        progress=False,
        on_finish=lambda i, g: finished.append((i, g)),
        **{"budget": Budget(max_rows=2), **options},
    )
    return decoded, finished


def main() -> None:
    """The program of one process: several runs in one group, the failing ones in between."""
    rank, folder = int(os.environ["RANK"]), sys.argv[1]
    torch.set_num_threads(1)
    group = ProcessGroup()
    seen = {"skewed": shared_run(group, Paced(), SKEWED, budget=Budget(max_rows=1))}
    broken = Paced(certainty=float("nan") if rank == 1 else 30.0)
    many = [[request([2 + i], gen_length=FAST) for i in range(12)]] * WORLD
    seen["nan"] = caught(lambda: shared_run(group, broken, many)), len(broken.passes)
    seen["mixed"] = [shared_run(group, HashBackbone(), sections) for sections in MIXED]
    seen["refused"] = caught(lambda: group.everyones(lambda: request(gen_length=0 if rank == 2 else 4)))
    seen["crash"] = caught(lambda: group.everyones(lambda: [1, 2][rank]))
    seen["all"] = generate(HashBackbone(), PROMPTS, group=group, batch_size=2, **SAMPLED)
    seen["differing"] = caught(lambda: generate(HashBackbone(), PROMPTS[rank:], group=group, **SAMPLED))
    seen["alone"] = generate(HashBackbone(), PROMPTS[rank : rank + 1], **SAMPLED)
    Path(folder, str(rank)).write_bytes(pickle.dumps(seen))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
