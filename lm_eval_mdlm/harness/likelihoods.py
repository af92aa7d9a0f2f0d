"""From the harness's likelihood requests to texts to be scored: pairs, and long texts in windows."""

import dataclasses
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
from .asked import Asked
from .chat import ChatTokenizer
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

    def pairs(self, requests: Sequence[Any], run: Run) -> list[Asked]:
        """One text per request; under `mc_se` the choices of a document are scored together.

        Raises:
            UsageError: For a text that is empty or too long, or options that do not fit it.
        """
        groups: dict[Any, list[int]] = {}
        for index, request in enumerate(requests):
            alone = self._likelihood.mc_se is None
            groups.setdefault(index if alone else (request.task_name, request.doc_id), []).append(index)
        asked = []
        for indices in groups.values():
            texts = [self._pair(requests[index], run) for index in indices]
            asked.append(self._asked(texts, indices, requests, run, _replies_to_pairs))
        self._tell_of_cuts(asked)
        return asked

    def rolling(self, requests: Sequence[Any], run: Run) -> list[Asked]:
        """All windows of one text per request; an empty text has none, and the log-probability 0."""
        asked = []
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
            asked.append(self._asked(texts, [index], requests, run, _reply_to_windows))
        return asked

    def effective(self, wants_greedy: bool, run: Run) -> Mapping[str, Any]:
        """Every option that has an effect, for the record."""
        all_options = self._with_seed(run).effective()
        of_sampler = {"seed", "cfg_scale", "max_length", "add_bos_token"}
        if wants_greedy or self._likelihood.likelihood == "path":
            left_out = {"gen_length", "template", "exit_threshold", "stop_when_settled", "temperature", "until"}
            of_sampler = all_options.keys() - left_out - {"top_k", "top_p", "min_p", "think_end_token"}
        return {
            **self._likelihood.effective(),
            **{name: value for name, value in all_options.items() if name in of_sampler},
        }

    def _asked(
        self,
        texts: Sequence[Text],
        indices: Sequence[int],
        requests: Sequence[Any],
        run: Run,
        replies: Callable[[Scores, Sequence[Text]], Sequence[tuple[Any, Counts]]],
    ) -> Asked:
        question = ScoreRequest(texts=tuple(texts), config=self._with_seed(run), likelihood=self._likelihood)
        for index in indices:
            name = str(requests[index].task_name)
            run.use(name, self.effective(any(text.wants_greedy for text in texts), run))
        try:
            question.plan(self._backbone)
        except UsageError as error:
            raise UsageError(f"{requests[indices[0]].task_name}: {error}") from None
        return Asked(question=question, indices=indices, replies=lambda scores: replies(scores, texts))

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

    def _tell_of_cuts(self, asked: Sequence[Asked]) -> None:
        num_cut = sum(plan.row.truncated for one in asked for plan in one.question.plan(self._backbone)[1])
        if num_cut:
            longest = longest_canvas(self._backbone, self._config)
            self._say(f"{num_cut} contexts were cut from the left to fit max_length={longest} beside their text.")


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


def _reply_to_windows(scores: Scores, texts: Sequence[Text]) -> list[tuple[Any, Counts]]:
    return [(scores.log_prob, scores.stats)]
