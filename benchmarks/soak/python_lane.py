"""A network asked in Python: by its public functions, or all kinds in one loop; with journals and recordings."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.soak.bits import Bits, bits_of, plain_of
from benchmarks.soak.lane import Company, Lane
from benchmarks.soak.questions import Texts, kinds_for
from lm_eval_mdlm import read_steps
from lm_eval_mdlm.backbones.backbone import Backbone
from lm_eval_mdlm.running.in_common import answer_in_common
from lm_eval_mdlm.running.known import identity_of, key_of
from lm_eval_mdlm.running.processes import ProcessGroup
from lm_eval_mdlm.running.question import Question


class PythonLane(Lane):
    """`generate`, `loglikelihood` and `score_traces` of one network."""

    def __init__(self, name: str, backbone: Backbone) -> None:
        self.name, self._backbone = name, backbone
        self._kinds = kinds_for(backbone)
        self.kinds = list(self._kinds)

    def answered(self, asked: Sequence[tuple[str, int]], company: Company) -> list[Bits]:
        questions = [self._question(*one) for one in asked]
        results: list[Bits] = [{}] * len(asked)
        for places, ask in self._calls(asked, questions, company):
            for place, bits in zip(places, self._kept([questions[i] for i in places], ask, company), strict=True):
                results[place] = bits
        return results

    def _question(self, kind: str, number: int) -> Question:
        own = self._kinds[kind]
        return own.ask.question(self._backbone, Texts.of(number), own.options(number))

    def _calls(
        self, asked: Sequence[tuple[str, int]], questions: Sequence[Question], company: Company
    ) -> list[tuple[list[int], Callable[..., list[Any]]]]:
        """Places of the requests of each call, and the call."""
        if company.mixed:

            def together(**how: Any) -> list[Any]:
                group = ProcessGroup(alone=True)
                how = {"journal": None, **how}
                return answer_in_common(
                    self._backbone, lambda: questions, what="questions", group=group, progress=False, **how
                )

            return [([*range(len(asked))], together)]
        alike: dict[str, list[int]] = {}
        for place, (kind, number) in enumerate(asked):
            alike.setdefault(json.dumps([kind, self._kinds[kind].options(number)]), []).append(place)
        return [(places, self._public([asked[i] for i in places])) for places in alike.values()]

    def _public(self, alike: Sequence[tuple[str, int]]) -> Callable[..., list[Any]]:
        own, options = self._kinds[alike[0][0]], self._kinds[alike[0][0]].options(alike[0][1])
        texts = [Texts.of(number) for _, number in alike]
        return lambda **how: own.ask.records(self._backbone, texts, options, **how)

    def _kept(self, questions: Sequence[Question], ask: Callable[..., list[Any]], company: Company) -> list[Bits]:
        """What a call gives, with a journal and a recording in folders of its own where they are wanted."""
        how: dict[str, Any] = {"batch_size": company.batch_size}
        with tempfile.TemporaryDirectory() as scratch:
            if company.journal:
                how["journal"] = f"{scratch}/journal"
            if records := company.record and any(question.has_steps for question in questions):
                how["record_steps"] = f"{scratch}/steps"
            found = [plain_of(record) for record in ask(**how)]
            if company.journal and repr([plain_of(record) for record in ask(**how)]) != repr(found):
                raise RuntimeError(f"{self.name}: a journal gave back other results than were put into it.")
            steps = self._steps(questions, Path(how["record_steps"])) if records else [{}] * len(found)
        return [bits_of({**record, **own}) for record, own in zip(found, steps, strict=True)]

    def _steps(self, questions: Sequence[Question], folder: Path) -> list[Mapping[str, Any]]:
        """A digest of the recorded steps of each row; nothing of other questions."""
        identity = identity_of(self._backbone)
        digests = {steps.key: _digest(steps.to_plain()) for steps in read_steps(folder)}
        keys = [key_of(identity, question) if question.has_steps else None for question in questions]
        if digests.keys() != {*keys} - {None}:
            raise RuntimeError(f"{self.name}: a recording does not hold the rows that were decoded.")
        return [{} if key is None else {"steps": digests[key]} for key in keys]


def _digest(plain: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=16).hexdigest()
