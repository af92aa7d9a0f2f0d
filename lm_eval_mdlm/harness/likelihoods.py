"""From the harness's likelihood requests to texts to be scored: pairs, and long texts in windows."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from ..backbones.backbone import Backbone
from ..engine.record import Scores
from ..errors import UsageError
from ..options.decoding import DecodingConfig
from ..options.likelihood import LikelihoodConfig
from ..running.planning import longest_canvas
from ..running.scoring import ScoreRequest, Text
from .chat import ChatTokenizer
from .posed import Posed
from .run import Run
from .stored import GREEDY, Counts


class ScoreReader:
    """Turns likelihood requests into questions, checked; it remembers nothing of a run.

    Args:
        backbone: Loaded.
        chat: Its tokenizer.
        config: The model's decoding options.
        likelihood: The model's likelihood options.
        say: Takes a line for the user.
    """

    def __init__(
        self,
        backbone: Backbone,
        chat: ChatTokenizer,
        config: DecodingConfig,
        likelihood: LikelihoodConfig,
        say: Callable[[str], None],
    ) -> None:
        self._backbone, self._chat, self._say = backbone, chat, say
        self._config, self._likelihood = config, likelihood

    def pairs(self, requests: Sequence[Any], run: Run) -> list[Posed]:
        """One text per request; under `mc_se` the choices of a document are scored together.

        Raises:
            UsageError: For a text that is empty or too long, or options that do not fit it.
        """
        groups: dict[Any, list[int]] = {}
        for index, request in enumerate(requests):
            alone = self._likelihood.mc_se is None
            groups.setdefault(index if alone else (request.task_name, request.doc_id), []).append(index)
        posed, num_cut = [], 0
        for indices in groups.values():
            texts = [self._pair(requests[index], run) for index in indices]
            question = self._question(texts, [requests[index] for index in indices], run)
            num_cut += sum(plan.row.truncated for plan in question.plan(self._backbone)[1])
            posed.append(
                Posed(question=question, indices=indices, replies=functools.partial(_replies_to_pairs, texts=texts))
            )
        if num_cut:
            longest = longest_canvas(self._backbone, self._config)
            self._say(
                f"{num_cut} of {len(requests)} contexts were cut from the left to fit max_length={longest} beside "
                f"their text."
            )
        return posed

    def rolling(self, requests: Sequence[Any], run: Run) -> list[Posed]:
        """All windows of one text per request; an empty text has none, and the log-probability 0."""
        posed = []
        for index, request in enumerate(requests):
            texts = [
                Text(context_ids=context, text_ids=text)
                for context, text in map(
                    make_disjoint_window,
                    get_rolling_token_windows(
                        token_list=self._encode(request.args[0], None),
                        prefix_token=self._prefix_token(),
                        max_seq_len=longest_canvas(self._backbone, self._config) - 2,
                        context_len=1,
                    ),
                )
            ]
            question = self._question(texts, [request], run)
            posed.append(Posed(question=question, indices=[index], replies=_reply_to_windows))
        return posed

    def effective(self, wants_greedy: bool, run: Run) -> Mapping[str, Any]:
        """Every option that has an effect, for the record."""
        all_options = self._with_seed(run).effective()
        of_sampler = {"seed", "cfg_scale", "max_length", "add_bos_token"}
        if wants_greedy or self._likelihood.likelihood == "path":
            left_out = {
                *("gen_length", "template", "exit_threshold", "gold_score", "stop_when_settled", "temperature", "until")
            }
            of_sampler = all_options.keys() - left_out - {"top_k", "top_p", "min_p", "think_end_token"}
        return {
            **self._likelihood.effective(),
            **{name: value for name, value in all_options.items() if name in of_sampler},
        }

    def _question(self, texts: Sequence[Text], requests: Sequence[Any], run: Run) -> ScoreRequest:
        question = ScoreRequest(texts=tuple(texts), config=self._with_seed(run), likelihood=self._likelihood)
        for request in requests:
            run.use(str(request.task_name), self.effective(any(text.wants_greedy for text in texts), run))
        try:
            question.plan(self._backbone)
        except UsageError as error:
            raise UsageError(f"{requests[0].task_name}: {error}") from None
        return question

    def _with_seed(self, run: Run) -> DecodingConfig:
        config = self._config
        return config if config.seed is not None else dataclasses.replace(config, seed=run.seed)

    def _pair(self, request: Any, run: Run) -> Text:
        context, continuation = request.args
        context_ids, text_ids = self._encode_pair(context, continuation, rendered=run.has_rendered(context))
        if not text_ids:
            raise UsageError(
                f"{request.task_name}: the continuation {continuation!r:.60} has no tokens of its own after its "
                f"context; give one that is not empty."
            )
        return Text(context_ids=context_ids, text_ids=text_ids, wants_greedy=run.wants_greedy(request))

    def _encode_pair(self, context: str, continuation: str, *, rendered: bool) -> tuple[list[int], list[int]]:
        if context:
            encoder = _Encoder(lambda text: self._encode(text, rendered))
            context_ids, text_ids = TemplateLM._encode_pair(encoder, context, continuation)
            return context_ids or [self._prefix_token()], text_ids
        text_ids, prefix = self._encode(continuation, None), self._prefix_token()
        # As the harness does: a text that begins with that very token has its context already.
        return (text_ids[:1], text_ids[1:]) if text_ids[:1] == [prefix] else ([prefix], text_ids)

    def _encode(self, text: str, rendered: bool | None) -> list[int]:
        """Tokens of a text; without special tokens where `rendered` is None, as it has no beginning of its own."""
        add_bos = False if rendered is None else self._config.add_bos_token
        return self._chat.encode(text, add_bos, rendered=bool(rendered)).token_ids

    def _prefix_token(self) -> int:
        """What an empty context is made of."""
        bos = getattr(self._chat.tokenizer, "bos_token_id", None)
        prefix = bos if bos is not None else next(iter(self._backbone.end_token_ids), None)
        if prefix is None:
            raise UsageError("an empty context needs a begin-of-text or end-of-text token, and the tokenizer has none.")
        return int(prefix)


class _Encoder:
    """What `TemplateLM._encode_pair` needs of a model."""

    backend = "causal"

    def __init__(self, encode: Callable[[str], list[int]]) -> None:
        self.tok_encode = encode


def _replies_to_pairs(scores: Scores, texts: Sequence[Text]) -> list[tuple[Any, Counts]]:
    return [
        ((score.log_prob, score.is_greedy), {**score.stats, GREEDY: int(text.wants_greedy)})
        for score, text in zip(scores.scores, texts, strict=True)
    ]


def _reply_to_windows(scores: Scores) -> list[tuple[Any, Counts]]:
    return [(scores.log_prob, scores.stats)]
