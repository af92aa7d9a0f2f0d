"""lm_eval's command line with a network that returns NaN for canvases with a certain text: `MDLM_TEST_POISON`.

`python -m tests.harness.poisoned run --model mdlm ...`
"""

import os
from typing import Any

import torch
from torch import Tensor

from lm_eval_mdlm.backbones.backbone import Backbone
from lm_eval_mdlm.checkpoints.load import load_backbone


def poisoned(backbone: Backbone, text: str) -> Backbone:
    """The same, but for passes over canvases that hold the text."""
    original = backbone.states

    def states(token_ids: Tensor, lengths: Any, wanted: Tensor) -> Tensor:
        own = original(token_ids, lengths, wanted)
        hit = [text in backbone.tokenizer.decode(canvas.tolist()) for canvas in token_ids.split(list(lengths))]
        at = torch.tensor(hit).repeat_interleave(torch.tensor(list(lengths)))
        return own.masked_fill(at[wanted, None].to(own.device), float("nan"))

    backbone.states = states  # type: ignore[method-assign]
    return backbone


def load(*args: Any, **kwargs: Any) -> Backbone:
    """In place of `load_backbone`."""
    return poisoned(load_backbone(*args, **kwargs), os.environ["MDLM_TEST_POISON"])


if __name__ == "__main__":
    from lm_eval_mdlm.__main__ import main
    from lm_eval_mdlm.harness import model

    model.load_backbone = load  # type: ignore[attr-defined]
    main()
