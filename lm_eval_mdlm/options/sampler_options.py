"""Options that belong to samplers, each to one or a few of them."""

from dataclasses import dataclass

from ..decoding.frequencies import TokenFrequencies
from ..decoding.policy import DecodingPolicy
from ..errors import UsageError
from .samplers import SAMPLERS


@dataclass(frozen=True, kw_only=True)
class SamplerOptions:
    """Which sampler, and its hyper-parameters; None means not set."""

    sampler: str = "fixed_k"
    """Which positions are committed in a step: a name in `samplers.SAMPLERS`."""
    k: int | None = None
    """`fixed_k`: positions per step, at least 1; 1 if unset."""
    score: str | None = None
    """`fixed_k`: what orders the positions, a name in `samplers.SCORES`; entropy if unset."""
    steps: int | None = None
    """`fixed_k`: total steps, spread evenly, instead of `k`; a multiple of the blocks that hold masks. `dream`: steps
    over the whole region; as many as it has masks if unset."""
    entropy_threshold: float | None = None
    """`med`: lambda, nats, at least 0; 0.2 if unset."""
    k_max: int | None = None
    """`med`: most commits per step, at least 1; no cap if unset."""
    entropy_bound: float | None = None
    """`entropy_bound`: nats, at least 0; 0.1 if unset."""
    confidence_threshold: float | None = None
    """`confidence_threshold`, `klass`, `credit`, `local_leap`, `ada_block`, `sliding_block`, `slow_fast`, `edit`: from
    0 to 1; 0.9, in `slow_fast` 0.85, in `edit` 0.7, if unset."""
    factor: float | None = None
    """`confidence_factor`: at least 0; 1.0 if unset."""
    slow_threshold: float | None = None
    """`slow_fast`: confidence above which a mask is within the horizon, from 0 to 1; 0.1 if unset."""
    max_slow_steps: int | None = None
    """`slow_fast`: most passes of an exploration, at least 1; 8 if unset."""
    stable_window: int | None = None
    """`slow_fast`: horizons that must agree, at least 1; 2 if unset."""
    stable_variance: float | None = None
    """`slow_fast`: variance, in squared positions, below which they do, at least 0; 1.0 if unset."""
    delimiter_threshold: float | None = None
    """`ada_block`: probability from which on a delimiter ends the block, from 0 to 1; 0.3 if unset."""
    delimiters: tuple[int | str, ...] | None = None
    """`ada_block`: token ids, or texts of one token each; a newline if unset."""
    max_block_length: int | None = None
    """`sliding_block`: most positions of the window, at least 1; no limit if unset."""
    skip: int | None = None
    """`dus`: the first stride is the block's length over 2 to this power, at least 1; 1 if unset."""
    remask_below: float | None = None
    """`dus`: confidence below which a position waits for the block's last pass, from 0 to 1; 0.3 if unset."""
    token_frequencies: TokenFrequencies | None = None
    """`score=pc`: file that `lm-eval-mdlm frequencies` wrote with the checkpoint's tokenizer."""
    pc_lambda: float | None = None
    """`score=pc`: how much an early position counts, at least 0; 0.25 if unset."""
    pc_alpha: float | None = None
    """`score=pc`: most that a rare token counts, nats, above 0; 10 if unset."""
    remdm_share: float | None = None
    """`remdm`: share of the masks that is filled before tokens are taken back, from 0 to 1; 0.875 if unset."""
    remdm_loops: int | None = None
    """`remdm`: tokens that are taken back, at least 0; 32 if unset."""
    kl_threshold: float | None = None
    """`klass`: nats, at least 0; 0.01 if unset."""
    history: int | None = None
    """`klass`: passes in a row of which a position must have changed by less than `kl_threshold`, at least 1; 2 if
    unset."""
    credit_decay: float | None = None
    """`credit`: share of a token's credit that is left at the next pass, from 0 to 1; 0.8 if unset."""
    credit_exponent: float | None = None
    """`credit`: of the probability that a likeliest token is credited with, at least 0; 0.2 if unset."""
    credit_strength: float | None = None
    """`credit`: nats that a logit gains per log(1 + credit), from 0 to 1e6; 0.7 if unset."""
    relaxed_threshold: float | None = None
    """`local_leap`: confidence near a position that reaches `confidence_threshold`, from 0 to it; 0.75 if unset."""
    radius: int | None = None
    """`local_leap`: positions to either side that count as near, at least 1; 4 if unset."""
    edit_threshold: float | None = None
    """`edit`: probability above which another token replaces one of the current block, from 0 to 1; 0.5 if unset."""
    max_edit_passes: int | None = None
    """`edit`: most passes of a block that begin without a mask, at least 0; 16 if unset."""
    alg: str | None = None
    """`dream`: what orders the positions, a name in `dream.ALGORITHMS`; entropy if unset."""
    alg_temp: float | None = None
    """`dream`: above 0, positions are drawn with softmax(confidence / alg_temp), at least 0; 0 if unset."""

    def sampler_alone(self) -> DecodingPolicy:
        """The sampler, without the rules that go over any."""
        sampler = SAMPLERS[self.sampler]
        given = {name: getattr(self, name) for name in (*sampler.options, *sampler.shared)}
        return sampler.make(**{name: value for name, value in given.items() if value is not None})

    def refuse_options_of_other_samplers(self) -> None:
        """Raise UsageError for an option that is set and belongs to others."""
        homes: dict[str, list[str]] = {}
        for sampler, known in SAMPLERS.items():
            for name in known.options:
                homes.setdefault(name, []).append(sampler)
        for name, samplers in homes.items():
            value = getattr(self, name)
            if value is not None and self.sampler not in samplers:
                raise UsageError(
                    f"{name}={value} belongs to sampler={' or '.join(samplers)} and would be ignored by sampler="
                    f"{self.sampler}; leave it out, or change the sampler."
                )
