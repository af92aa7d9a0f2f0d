"""lm_eval's side: one `MDLM` object, asked again and again, within evaluations and outside of them."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance

from benchmarks.soak.bits import Bits, bits_of
from benchmarks.soak.lane import Company, Lane
from lm_eval_mdlm.harness.evaluation import Started
from lm_eval_mdlm.harness.model import MDLM


WORDS = ("pens", "sells", "loaves", "morning", "answer", "number", "how many", "in all", "step", "result")
TEMPLATE = [{"reasoning": 8}, {"text": "\nThe answer is "}, {"answer": 4}]


class HarnessLane(Lane):
    """One model object. A journal is its own for good, so the harness asks without; rows are recorded nowhere."""

    def __init__(self, name: str, checkpoint: str) -> None:
        self.name = name
        self._model = MDLM(
            checkpoint, device="cpu", gen_length=12, block_length=6, sampler="med", entropy_threshold=1.0, mc_num=4
        )
        self._asking: Mapping[str, tuple[str, Callable[[int], tuple[Any, ...]]]] = {
            "text": ("generate_until", lambda number: (_context(number), {"until": [str(number % 1000)]})),
            "text after chat": ("generate_until", lambda number: (self._chat(number), {"until": ["e"]})),
            "template": (
                "generate_until",
                lambda number: (_context(number), {"template": TEMPLATE, "exit_threshold": 8.0, "until": []}),
            ),
            "pair": ("loglikelihood", lambda number: (_context(number), " " + _words(number, 2))),
            "rolling": ("loglikelihood_rolling", lambda number: (_context(number),)),
        }
        self.kinds = list(self._asking)

    def answered(self, asked: Sequence[tuple[str, int]], company: Company) -> list[Bits]:
        requests = [self._request(*one) for one in asked]
        found: dict[int, dict[str, Any]] = {}
        if company.mixed:
            with self._model.evaluation(Started()) as run:
                self._ask(requests, found)
                for request in requests:
                    (counts,) = run.counts_of(request)
                    found[id(request)] |= counts
            self._model.get_model_info()
        else:
            self._ask(requests, found)
        return [bits_of(found[id(request)]) for request in requests]

    def _ask(self, requests: Sequence[Instance], found: dict[int, dict[str, Any]]) -> None:
        for kind in ("generate_until", "loglikelihood", "loglikelihood_rolling"):
            own = [request for request in requests if request.request_type == kind]
            responses = getattr(self._model, kind)(own, disable_tqdm=True) if own else []
            found |= {id(request): _plain(response) for request, response in zip(own, responses, strict=True)}

    def _request(self, kind: str, number: int) -> Instance:
        request_type, arguments = self._asking[kind]
        metadata = ("soak", number, 1)
        return Instance(request_type=request_type, doc={}, arguments=arguments(number), idx=0, metadata=metadata)

    def _chat(self, number: int) -> str:
        text: str = self._model.apply_chat_template([{"role": "user", "content": _context(number)}])
        return text


def _words(number: int, count: int) -> str:
    draw = random.Random(number)
    return " ".join(draw.choice(WORDS) for _ in range(count))


def _context(number: int) -> str:
    return f"Question {number}: {_words(number, 1 + number % 6)}\nAnswer:"


def _plain(response: Any) -> dict[str, Any]:
    if isinstance(response, str):
        return {"text": response}
    log_prob, is_greedy = response if isinstance(response, tuple) else (response, False)
    return {"log_prob": log_prob, "is_greedy": is_greedy}
