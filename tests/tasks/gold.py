"""A network that knows the benchmarks' reference solutions by heart, and what it must then score and cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lm_eval_mdlm.backbones.backbone import Backbone
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.running.planning import plan_row
from tests.toy import ScriptedBackbone


@dataclass(frozen=True)
class Gold:
    """A document's reference: what belongs into the reasoning (or the whole region) and into the answer."""

    prompt: str
    solution: str
    answer: str = ""


class GoldBackbone(ScriptedBackbone):
    """Certain of the reference solution behind every known prompt; segments end with end of text."""

    def __init__(self, real: Backbone, golds: Sequence[Gold]) -> None:
        super().__init__(self._solve, vocab_size=real.vocab_size, mask_token_id=real.mask_token_id)
        self.tokenizer, self.end_token_ids, self.max_length = real.tokenizer, real.end_token_ids, 100_000
        self.solved: dict[tuple[tuple[int, ...], int], list[int]] = {}
        self.golds = {tuple(self.tokenizer.encode(gold.prompt)): gold for gold in golds}

    def _solve(self, canvas: list[int]) -> list[int]:
        prompt = max((p for p in self.golds if tuple(canvas[: len(p)]) == p), key=len)
        key = (prompt, len(canvas))
        if key not in self.solved:
            self.solved[key] = self._written(prompt, canvas[len(prompt) :])
        return self.solved[key]

    def _written(self, prompt: tuple[int, ...], region: list[int]) -> list[int]:
        gold = self.golds[prompt]
        texts = [t for t in TEMPLATE_TEXTS if self._find(region, t) is not None]
        if not texts:
            return [*prompt, *self._filled(gold.solution, len(region))]
        fixed = self.tokenizer.encode(texts[0], add_special_tokens=False)
        at = self._find(region, texts[0])
        answer = self._filled(gold.answer, len(region) - at - len(fixed))
        return [*prompt, *self._filled(gold.solution, at), *fixed, *answer]

    def _find(self, region: list[int], text: str) -> int | None:
        fixed = self.tokenizer.encode(text, add_special_tokens=False)
        return next((i for i in range(len(region)) if region[i : i + len(fixed)] == fixed), None)

    def _filled(self, text: str, length: int) -> list[int]:
        ids = self.tokenizer.encode(text, add_special_tokens=False)[:length]
        return ids + [self.end_token_ids[0]] * (length - len(ids))


TEMPLATE_TEXTS = ("\nThe answer is \\boxed{",)


def expected_nfe(backbone: Backbone, options: Mapping[str, object], k: int | None) -> int:
    """Passes of a network that is certain everywhere: one per block that holds masks, or masks / k rounded up."""
    region = plan_row(backbone, [0], DecodingConfig.from_options(options)).region.token_ids
    blocks: dict[int, int] = {}
    for i, token in enumerate(region):
        if token == backbone.mask_token_id:
            blocks[i // 32] = blocks.get(i // 32, 0) + 1
    return sum(-(-masks // k) if k else 1 for masks in blocks.values())
