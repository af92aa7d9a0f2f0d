"""The probability that a sampler gives to a text, exactly, from the engine's own passes and choices."""

import copy
import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.laboratory.backbone import ExactBackbone
from benchmarks.laboratory.joint import Canvases
from lm_eval_mdlm.engine.decode import FILLING
from lm_eval_mdlm.engine.reader import read
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.row import Change, Row
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.planning import plan_row


@dataclass(frozen=True, eq=False)
class Law:
    """What a sampler does with N texts.

    A rule that looks at distributions and not at drawn tokens goes one way only to a text: the way it goes when it
    takes that text's own tokens wherever it commits. So the text's probability is the product, over this way's
    commits, of their marginals at temperature 1.
    """

    log_prob: Float64[Tensor, " N"]
    """Nats. Where the rule draws noise, of the text and of the way that the noise of one key gives."""
    nfe: Int[Tensor, " N"]
    """Passes that it takes to the text."""
    canvases: Int[Tensor, "M L"]
    """Of all M different steps on the ways to the texts."""
    chosen: Bool[Tensor, "M L"]
    """What is committed in each."""
    through: list[NDArray[np.int64]]
    """Which of the texts each step is on the way to."""


def law(backbone: ExactBackbone, config: DecodingConfig, texts: Canvases, key: int = 0) -> Law:
    """Lead the engine to every text; texts share their steps until they part.

    Args:
        backbone: Of the region's joint.
        config: The sampler; its positions must not depend on the tokens it draws, nor its commits be undone.
        texts: Different or not.
        key: Tells apart several runs of a sampler that draws noise.
    """
    plan = dataclasses.replace(plan_row(backbone, [0], config, key), temperature=0.0)  # tokens are given, not drawn
    readout, wanted_texts = Readout(backbone), texts.numpy()
    log_prob, nfe = np.zeros(len(texts)), np.zeros(len(texts), dtype=np.int64)
    steps: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
    nodes = [(Row(plan, FILLING), np.arange(len(texts)))]
    while nodes:
        rows, following = [row for row, _ in nodes], []
        with torch.inference_mode():
            reading = read(readout, rows)
            changes = FILLING.decide(rows, reading, readout)
        for (row, own), change, states in zip(nodes, changes, reading.states, strict=True):
            steps.append((row.canvas[-texts.shape[1] :].copy(), change.positions, own))
            places = np.searchsorted(row.wanted, change.positions)
            marginals = states[torch.from_numpy(places)].double().log_softmax(-1).numpy()
            tokens = wanted_texts[own][:, change.positions]
            log_prob[own] += np.take_along_axis(marginals[None], tokens[..., None], axis=2)[..., 0].sum(1)
            nfe[own] += 1
            following += _parted(row, own, tokens, change)
        nodes = following
    chosen = torch.zeros(len(steps), texts.shape[1], dtype=torch.bool)
    for i, (_, positions, _) in enumerate(steps):
        chosen[i, positions] = True
    canvases = torch.from_numpy(np.stack([canvas for canvas, *_ in steps]))
    return Law(torch.from_numpy(log_prob), torch.from_numpy(nfe), canvases, chosen, [own for *_, own in steps])


def _parted(
    row: Row, own: NDArray[np.int64], tokens: NDArray[np.int64], change: Change
) -> list[tuple[Row, NDArray[np.int64]]]:
    """The row after its step, once for each choice of tokens that leads to a text; nothing if it is full by then."""
    masked = row.canvas == row.plan.mask_token_id
    assert masked[len(row.plan.prompt_ids) + change.positions].all(), "a sampler that revises tokens has many ways"
    if masked.sum() == len(change.positions):
        return []
    if len(own) == 1 or not len(change.positions):
        row.advance(dataclasses.replace(change, tokens=tokens[0]))
        return [(row, own)]
    kinds, which = np.unique(tokens, axis=0, return_inverse=True)
    # The plan is shared: only what a row has become differs.
    others = [copy.deepcopy(row, {id(row.plan): row.plan, id(row.kind): row.kind}) for _ in kinds[1:]]
    found = []
    for i, (one, kind) in enumerate(zip([row, *others], kinds, strict=True)):
        one.advance(dataclasses.replace(change, tokens=kind))
        found.append((one, own[which.reshape(-1) == i]))
    return found
