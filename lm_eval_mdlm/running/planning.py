"""From a checked configuration and a prompt to the plan of one row."""

import functools
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from ..backbones.backbone import Backbone, Tokenizer
from ..canvas.encoding import TextEncoder
from ..canvas.template import EXAMPLE, Region, Template, free_region
from ..canvas.text import TextRule
from ..canvas.tokenizers import markers_of
from ..canvas.vocabulary import vocabulary_fingerprint
from ..decoding.blocks import Blocks, GridBlocks
from ..decoding.logits import LogitRule
from ..decoding.policy import DecodingPolicy
from ..decoding.proposal import RowKey
from ..decoding.restriction import Restriction
from ..decoding.vocabulary import Vocabulary
from ..engine.cache import CACHES
from ..engine.plan import RowPlan
from ..errors import UsageError
from ..options.decoding import DEFAULT_GEN_LENGTH, DecodingConfig
from ..options.network import fitted


Answer: TypeAlias = str | Sequence[int]
"""A given answer: a text, which is tokenised by itself without special tokens, or token ids."""
RULES_VERSION = 3
"""Of docs/semantics.md: raised whenever the same options give another result, so that stored results are not mixed."""


def plan_row(
    backbone: Backbone,
    prompt_ids: Sequence[int],
    config: DecodingConfig,
    repeat: int = 0,
    answer: Answer | None = None,
    gold: Sequence[int] = (),
) -> RowPlan:
    """The plan of one request.

    Args:
        backbone: Gives mask, limits and tokenizer.
        prompt_ids: At least one token, unless the network puts some before every canvas; cut from the left if prompt
            and region exceed the longest canvas.
        config: The request's options.
        repeat: Tells apart several samples of the same request.
        answer: Fills the template's one answer segment from the first pass on; None to decode it.
        gold: Tokens whose log-probabilities are read at the first positions of the template's one answer segment.

    Raises:
        UsageError: If the options do not fit this backbone or each other, or an answer does not fit its segment.
    """
    _check_prompt(backbone, prompt_ids, config)
    config = fitted_to(backbone, config)
    _check_room(backbone, config)
    region = _region(backbone, config, answer)
    room = longest_canvas(backbone, config) - len(region.token_ids)
    if room < 1:
        raise _no_room(len(region.token_ids), backbone, config)
    policy = config.policy().bound(_vocabulary(backbone))
    own_ids = tuple(prompt_ids[-room:])
    if backbone.grid_block is not None:
        policy = policy.on_grid(backbone.grid_block)
    blocks = _blocks(backbone.grid_block, len(own_ids), policy, config, len(region.token_ids))
    masked = [i for i, token in enumerate(region.token_ids) if token == backbone.mask_token_id]
    policy.check_blocks(len(blocks.split(masked)))
    return RowPlan(
        prompt_ids=own_ids,
        region=region,
        policy=policy,
        blocks=blocks,
        logit_rule=LogitRule((backbone.mask_token_id, *_suppressed(backbone, config)), config.cfg_scale),
        gold=tuple(gold),
        key=RowKey.of(config.seed or 0, prompt_ids, region.token_ids, repeat),
        mask_token_id=backbone.mask_token_id,
        temperature=config.temperature,
        restriction=Restriction.of(top_k=config.top_k, top_p=config.top_p, min_p=config.min_p),
        exit_rule=config.exit(),
        max_nfe=config.max_nfe,
        stop_when_settled=bool(config.stop_when_settled),
        cache=CACHES[str(config.cache)] if config.keeps else None,
        lookback=backbone.lookback,
        text_rule=_text_rule(backbone, region, config),
        returns_text=backbone.tokenizer is not None,
        truncated=len(prompt_ids) > room,
    )


def _check_prompt(backbone: Backbone, prompt_ids: Sequence[int], config: DecodingConfig) -> None:
    if not (prompt_ids or backbone.canvas_prefix):
        raise UsageError(
            "the prompt must hold at least one token, got an empty one; give a context, or add_bos_token=True."
        )
    if backbone.canvas_prefix and config.add_bos_token is not None:
        raise UsageError(
            f"add_bos_token={config.add_bos_token} cannot act on an encoder, whose special tokens stand around the "
            f"whole canvas; leave it out."
        )
    outside = [token for token in prompt_ids if not 0 <= token < backbone.vocab_size]
    if outside:
        raise UsageError(
            f"prompt token ids must be from 0 to {backbone.vocab_size - 1}, got {outside[0]}; is the tokenizer the "
            f"checkpoint's own?"
        )


def fitted_to(backbone: Backbone, config: DecodingConfig) -> DecodingConfig:
    """The options as this network takes them; see `fitted`."""
    keeps, why = backbone.memory_bytes_per_token is not None, backbone.keeps_none_because
    return fitted(config, grid_block=backbone.grid_block, keeps=keeps, keeps_none_because=why)


def _blocks(
    grid_block: int | None, prompt_length: int, policy: DecodingPolicy, config: DecodingConfig, region_length: int
) -> Blocks:
    if grid_block is not None:
        return GridBlocks.after(prompt_length, grid_block)
    return Blocks(config.positions_per_block if policy.has_fixed_blocks else max(region_length, 1))


def lines_about(backbone: Backbone, config: DecodingConfig) -> Iterator[str]:
    """What the user should know of these options on this network."""
    if backbone.grid_block is None:
        return
    if backbone.memory_bytes_per_token is None:
        yield "this network is spread over devices and keeps nothing between passes: each computes the whole prompt."
    if config.names_exit():
        yield (
            f"{config.names_exit()} looks at an answer behind unfinished blocks, which block-causal checkpoints were "
            f"not trained for."
        )


def check_answer_is_seen(plan: RowPlan) -> None:
    """Raise UsageError if a given answer stands where the masks before it do not see it."""
    ids = plan.region.token_ids
    given = [span.stop for span in plan.region.spans if span.given]
    first = next((i for i, token in enumerate(ids) if token == plan.mask_token_id), None)
    if first is None or not given:
        return
    if max(given) > (seen := plan.blocks.reach(plan.blocks.number(first), len(ids))):
        raise UsageError(
            f"a given answer must end within the first block of a block-causal checkpoint, whose masks see no "
            f"further: at position {seen} of the region here, got {max(given)}; use a checkpoint that sees everything."
        )


def _vocabulary(backbone: Backbone) -> Vocabulary:
    return Vocabulary(
        size=backbone.vocab_size,
        end_ids=backbone.end_token_ids,
        encode=lambda option, text: _needed(backbone.tokenizer, option).encode(text, add_special_tokens=False),
        fingerprint=lambda option: vocabulary_fingerprint(_needed(backbone.tokenizer, option), option),
    )


def longest_canvas(backbone: Backbone, config: DecodingConfig) -> int:
    """Most tokens of prompt and region together; UsageError if more than the checkpoint allows are asked for."""
    if config.max_length is not None and config.max_length > backbone.max_length:
        raise UsageError(
            f"max_length must be at most the checkpoint's {backbone.max_length}, got {config.max_length}; lower it or "
            f"leave it out."
        )
    return config.max_length or backbone.max_length


def _no_room(length: int, backbone: Backbone, config: DecodingConfig) -> UsageError:
    return UsageError(
        f"the region of {length} tokens leaves no room for a prompt in max_length="
        f"{longest_canvas(backbone, config)}; lower gen_length."
    )


def _check_room(backbone: Backbone, config: DecodingConfig) -> None:
    """Before a region is built, which for a mistyped length would fill the memory."""
    template = config.resolved_template()
    masks = template.gen_length if template else config.gen_length or DEFAULT_GEN_LENGTH
    if masks >= longest_canvas(backbone, config):
        raise _no_room(masks, backbone, config)


def _needed(tokenizer: Tokenizer | None, purpose: str) -> Tokenizer:
    if tokenizer is None:
        raise UsageError(f"{purpose} needs a tokenizer, and the checkpoint has none; add its tokenizer files.")
    return tokenizer


def _region(backbone: Backbone, config: DecodingConfig, answer: Answer | None) -> Region:
    template = config.resolved_template()
    given = None if answer is None else _given(backbone, config, template, answer)
    if template is None:
        return free_region(config.gen_length or DEFAULT_GEN_LENGTH, backbone.mask_token_id)
    encode = functools.partial(_encoded, backbone, "template text")
    return template.lay_out(encode, backbone.mask_token_id, given)


def _given(backbone: Backbone, config: DecodingConfig, template: Template | None, answer: Answer) -> list[int]:
    """The tokens of the answer segment."""
    if template is None:
        raise UsageError(
            f"a given answer needs a template with an answer segment, and there is none; set template, for example "
            f"{EXAMPLE}."
        )
    if named := config.names_exit():
        raise UsageError(f"{named} has no answer to watch in a row whose answer is given; leave it out.")
    if config.gold_score:
        raise UsageError("gold_score has no answer to score in a row whose answer is given; leave it out.")
    return template.padded_answer(answer_ids(backbone, answer), next(iter(backbone.end_token_ids), None))


def answer_ids(backbone: Backbone, answer: Answer) -> list[int]:
    """The tokens of a given answer, without what fills up its segment; UsageError for ids that cannot stand there."""
    ids = _encoded(backbone, "the text of an answer", answer) if isinstance(answer, str) else list(answer)
    outside = [token for token in ids if not 0 <= token < backbone.vocab_size]
    if outside:
        raise UsageError(f"answer token ids must be from 0 to {backbone.vocab_size - 1}, got {outside[0]}; correct it.")
    if (mask := backbone.mask_token_id) in ids:
        raise UsageError(f"a given answer must not hold the mask token {mask}; take it out.")
    return ids


def _encoded(backbone: Backbone, purpose: str, text: str) -> list[int]:
    encoder = TextEncoder(_needed(backbone.tokenizer, purpose), backbone.mask_token_id)
    return encoder.encode(text, add_special_tokens=False).token_ids


def template_holds_mask(backbone: Backbone, config: DecodingConfig) -> bool:
    """Whether the fixed text of a template holds the text of the mask token, which is ordinary text there."""
    segments = config.template.segments if config.template else ()
    return any(text_holds_mask(backbone, segment.text) for segment in segments if segment.text)


def text_holds_mask(backbone: Backbone, text: str) -> bool:
    """Whether a text holds the text of the mask token."""
    if backbone.tokenizer is None:
        return False
    encoder = TextEncoder(backbone.tokenizer, backbone.mask_token_id)
    return encoder.encode(text, add_special_tokens=False).held_mask


def forbidden_ids(backbone: Backbone, config: DecodingConfig) -> frozenset[int]:
    """Tokens that are never proposed: the mask token and suppressed ones."""
    return frozenset((backbone.mask_token_id, *_suppressed(backbone, config)))


def _suppressed(backbone: Backbone, config: DecodingConfig) -> list[int]:
    ids = []
    for token in config.suppress_tokens:
        if isinstance(token, str):
            found = _needed(backbone.tokenizer, "suppress_tokens by name").encode(token, add_special_tokens=False)
            if len(found) != 1:
                raise UsageError(
                    f"suppress_tokens must name single tokens, got {token!r}, which is {len(found)} tokens."
                )
            token = found[0]
        if not 0 <= token < backbone.vocab_size:
            raise UsageError(f"suppress_tokens must be ids from 0 to {backbone.vocab_size - 1}, got {token}.")
        ids.append(token)
    if len({*ids, backbone.mask_token_id}) == backbone.vocab_size:
        raise UsageError(
            f"suppress_tokens must leave a token to propose, got all {backbone.vocab_size} but the mask; name fewer."
        )
    return sorted({*ids} - {backbone.mask_token_id})


def _text_rule(backbone: Backbone, region: Region, config: DecodingConfig) -> TextRule:
    tokenizer, ends, thinking = backbone.tokenizer, backbone.end_token_ids, config.think_end_token
    if tokenizer is None:
        for name in ("until", "think_end_token"):
            if getattr(config, name):
                _needed(None, name)
        return TextRule(region.spans, backbone.mask_token_id, ends, lambda token_ids: "")
    if thinking is not None and thinking.isdecimal():
        thinking = tokenizer.decode([int(thinking)], skip_special_tokens=False)
    return TextRule(
        region.spans,
        backbone.mask_token_id,
        ends,
        decode=functools.partial(tokenizer.decode, skip_special_tokens=True),
        until=markers_of(tokenizer, config.until),
        write=functools.partial(tokenizer.decode, skip_special_tokens=False),
        think_end=markers_of(tokenizer, () if thinking is None else (thinking,)),
    )
