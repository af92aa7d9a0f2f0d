"""From the harness's likelihood requests to texts to be scored: pairs, and long texts in windows."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from ..backbones.backbone import Backbone
from ..canvas.encoding import Encoded
from ..engine.record import Scores
from ..errors import UsageError
from ..options.decoding import DecodingConfig
from ..options.likelihood import LikelihoodConfig
from ..running.planning import longest_canvas
from ..running.scoring import ScoreRequest, Text
from .chat import ChatTokenizer
from .posed import Posed, origin_of
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
            UsageError: For a text that is empty or too long, or options that do not fit it or the run.
        """
        _check_cache_knows_documents(self._likelihood, run)
        posed, num_cut, num_masks = [], 0, 0
        # --use_cache keeps one answer for a pair that two tasks ask about, so it must do for both.
        asked = {request.args for request in requests if run.wants_greedy(request)} if run.stored is not None else set()
        for indices in self._together(requests):
            # A request that pads a process is the very object of an earlier one, and shares its score.
            own = {id(requests[index]): requests[index] for index in indices}
            places = {key: place for place, key in enumerate(own)}
            read = [
                self._pair(request, run, wants_greedy=run.wants_greedy(request) or request.args in asked)
                for request in own.values()
            ]
            num_masks += sum(held_mask for _, held_mask in read)
            question, cut = self._question([text for text, _ in read], list(own.values()), run)
            num_cut += cut
            replies = functools.partial(
                _replies_to_pairs, texts=question.texts, places=[places[id(requests[index])] for index in indices]
            )
            posed.append(Posed(question=question, indices=indices, replies=replies))
        self._say_of_texts(len(requests), num_cut, num_masks)
        return posed

    def rolling(self, requests: Sequence[Any], run: Run) -> list[Posed]:
        """All windows of one text per request; an empty text has none, and the log-probability 0."""
        posed, num_masks = [], 0
        # A context of one token stands before a window, and perhaps an end of text behind it.
        room = longest_canvas(self._backbone, self._config) - 1 - self._likelihood.scorer(self._config).appends_end
        for index, request in enumerate(requests):
            encoded = self._encode(request.args[0], None)
            num_masks += encoded.held_mask
            windows = get_rolling_token_windows(
                token_list=encoded.token_ids,
                prefix_token=self._prefix_token(),
                max_seq_len=max(1, room),  # without any room, the text of the first window is refused
                context_len=1,
            )
            pairs = [make_disjoint_window(window) for window in windows]
            if self._backbone.canvas_prefix:
                pairs = [([], text) for _, text in pairs[:1]] + pairs[1:]
            texts = [Text(context_ids=context, text_ids=text) for context, text in pairs]
            question, _ = self._question(texts, [request], run)
            posed.append(Posed(question=question, indices=[index], replies=_reply_to_windows))
        self._say_of_texts(len(requests), 0, num_masks)
        return posed

    def _together(self, requests: Sequence[Any]) -> list[list[int]]:
        """Indices of requests whose texts are scored together."""
        groups: dict[Any, list[int]] = {}
        for index, request in enumerate(requests):
            alone = self._likelihood.mc_se is None
            groups.setdefault(index if alone else (request.task_name, request.doc_id), []).append(index)
        return list(groups.values())

    def _say_of_texts(self, num: int, num_cut: int, num_masks: int) -> None:
        if num_cut:
            longest = longest_canvas(self._backbone, self._config)
            self._say(
                f"{num_cut} of {num} contexts were cut from the left to fit max_length={longest} beside their text."
            )
        if num_masks:
            self._say(
                f"the text of the mask token stands in {num_masks} of {num} texts to be scored or their contexts, and "
                f"was tokenised as ordinary text there."
            )

    def effective(self, wants_greedy: bool, run: Run) -> Mapping[str, Any]:
        """Every option that has an effect, for the record."""
        all_options = self._with_seed(run).effective()
        of_sampler = {"seed", "cfg_scale", "max_length", "add_bos_token"}
        if wants_greedy or self._likelihood.likelihood == "path":
            left_out = {
                *("gen_length", "template", "exit_rule", "exit_threshold", "max_nfe", "gold_score"),
                *("stop_when_settled", "temperature", "until"),
            }
            of_sampler = all_options.keys() - left_out - {"top_k", "top_p", "min_p", "think_end_token"}
        return {
            **self._likelihood.effective(),
            **{name: value for name, value in all_options.items() if name in of_sampler},
        }

    def _question(self, texts: Sequence[Text], requests: Sequence[Any], run: Run) -> tuple[ScoreRequest, int]:
        """Texts that are scored together, and how many of their contexts are cut."""
        question = ScoreRequest(
            texts=tuple(texts),
            config=self._with_seed(run),
            likelihood=self._likelihood,
            origin=origin_of(requests[0]),
        )
        effective = self.effective(any(text.wants_greedy for text in texts), run)
        for request in requests:
            run.use(str(request.task_name), effective)
        try:
            _, plans = question.plan(self._backbone)
        except UsageError as error:
            raise UsageError(f"{requests[0].task_name}: {error}") from None
        return question, sum(plan.row.truncated for plan in plans)

    def _with_seed(self, run: Run) -> DecodingConfig:
        config = self._config
        return config if config.seed is not None else dataclasses.replace(config, seed=run.seed)

    def _pair(self, request: Any, run: Run, *, wants_greedy: bool) -> tuple[Text, bool]:
        """The text of a pair, and whether either part held what the tokenizer takes for the mask."""
        context, continuation = request.args
        context_ids, text_ids, held_mask = self._encode_pair(context, continuation, rendered=run.has_rendered(context))
        if not text_ids:
            raise UsageError(
                f"{request.task_name}: the continuation {continuation!r:.60} has no tokens of its own after its "
                f"context; give one that is not empty."
            )
        return Text(context_ids=context_ids, text_ids=text_ids, wants_greedy=wants_greedy), held_mask

    def _encode_pair(self, context: str, continuation: str, *, rendered: bool) -> tuple[list[int], list[int], bool]:
        if context:
            encoder = _Encoder(lambda text: self._encode(text, rendered))
            context_ids, text_ids = TemplateLM._encode_pair(encoder, context, continuation)
            return context_ids or self._empty_context(), text_ids, encoder.held_mask
        text_ids, held_mask = self._encode(continuation, None)
        if self._backbone.canvas_prefix:
            return self._empty_context(), text_ids, held_mask
        prefix = self._prefix_token()
        # As the harness does: a text that begins with that very token has its context already.
        context_ids, text_ids = (text_ids[:1], text_ids[1:]) if text_ids[:1] == [prefix] else ([prefix], text_ids)
        return context_ids, text_ids, held_mask

    def _encode(self, text: str, rendered: bool | None) -> Encoded:
        """Tokens of a text; without special tokens where `rendered` is None, as it has no beginning of its own."""
        add_bos = False if rendered is None else self._config.add_bos_token
        return self._chat.encode(text, add_bos, rendered=bool(rendered))

    def _empty_context(self) -> list[int]:
        """Tokens of an empty context; none where the network puts some before every canvas."""
        return [] if self._backbone.canvas_prefix else [self._prefix_token()]

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

    def __init__(self, encode: Callable[[str], Encoded]) -> None:
        self._encode = encode
        self.held_mask = False

    def tok_encode(self, text: str) -> list[int]:
        """Tokens of a text."""
        encoded = self._encode(text)
        self.held_mask |= encoded.held_mask
        return encoded.token_ids


def _check_cache_knows_documents(likelihood: LikelihoodConfig, run: Run) -> None:
    if likelihood.mc_se is not None and run.stored is not None:
        raise UsageError(
            f"mc_se={likelihood.mc_se:g} samples the choices of a document together, and --use_cache keeps each by its "
            f"texts alone; leave one of them out, or keep results by --model_args journal=DIR."
        )


def _replies_to_pairs(scores: Scores, texts: Sequence[Text], places: Sequence[int]) -> list[tuple[Any, Counts]]:
    replies = [
        ((_comparable(score.log_prob), score.is_greedy), {**score.stats, GREEDY: int(text.wants_greedy)})
        for score, text in zip(scores.scores, texts, strict=True)
    ]
    return [replies[place] for place in places]


def _reply_to_windows(scores: Scores) -> list[tuple[Any, Counts]]:
    return [(_comparable(scores.log_prob), scores.stats)]


def _comparable(log_prob: float) -> float:
    """A text without a score is the least likely of all: the harness would take NaN for the largest of several."""
    return -math.inf if math.isnan(log_prob) else log_prob
