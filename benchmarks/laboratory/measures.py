"""How far a sampler's texts are from the truth: exactly where all texts can be listed, estimated where not."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from benchmarks.laboratory.backbone import ExactBackbone
from benchmarks.laboratory.factorisation import factorisation
from benchmarks.laboratory.joint import Canvases, Joint
from benchmarks.laboratory.law import Law, law
from benchmarks.laboratory.settings import Grid, Options, config_of, named
from benchmarks.report import Value
from lm_eval_mdlm import generate
from lm_eval_mdlm.options.decoding import DecodingConfig


@dataclass(frozen=True)
class Sizes:
    """How much is drawn."""

    samples: int
    """Texts drawn from a sampler where all texts can be listed."""
    long_texts: int
    """Texts drawn from the truth, and as many from each sampler, where they cannot."""
    keys: int
    """Orders that are tried where a sampler draws its own noise."""


Line = dict[str, Value]


def number(line: Mapping[str, Value], name: str) -> float:
    """A figure that the line has."""
    value = line[name]
    assert isinstance(value, (int, float)), f"{name} is {value!r}"
    return float(value)


def listed(joint: Joint, grid: Grid, options: Options, sizes: Sizes) -> Line:
    """One setting where all texts can be listed."""
    config, backbone = config_of(options, joint.length), ExactBackbone(joint)
    drawn, nfe = sampled(backbone, config, sizes.samples)
    line: Line = {"law of": "samples", "NFE": nfe}
    if not grid.looks_at_tokens:
        noisy = config.policy().needs_noise
        found = [law(backbone, config, joint.texts, key) for key in range(sizes.keys if noisy else 1)]
        exact = [exactly(joint, one) for one in found]
        line = {"law of": "paths" if noisy else "texts"}
        line |= {name: float(np.mean([one[name] for one in exact])) for name in exact[0]}
        line |= checked(joint, config, found)
    counted = torch.bincount(ids_of(joint, drawn), minlength=len(joint.texts))
    if line["law of"] == "texts":
        hold_against(counted, found[0].log_prob.exp(), f"{joint.name}, {named(options)}")
    return {**line, **{f"sampled {name}": value for name, value in empirical(joint, counted).items()}}


def exactly(joint: Joint, found: Law) -> dict[str, float]:
    """Distances of a law of all texts, and the mean passes under it."""
    p, log_p, q = joint.probabilities, joint.log_prob(joint.texts), found.log_prob.exp()
    if not abs(float(q.sum()) - 1) < 1e-4:
        raise RuntimeError(f"the probabilities of all texts sum to {float(q.sum())}, so a sampler had another way.")
    return {
        "NFE": float((q * found.nfe).sum()),
        "TV": float((p - q).abs().sum() / 2),
        "KL": float((p * (log_p - found.log_prob)).sum()),
        "reverse KL": float((q * (found.log_prob - log_p)).sum()),
    }


def estimated(joint: Joint, grid: Grid, options: Options, sizes: Sizes) -> Line:
    """One setting where texts are too many to be listed: from texts of the truth, and texts of the sampler."""
    config, backbone = config_of(options, joint.length), ExactBackbone(joint)
    drawn, nfe = sampled(backbone, config, sizes.long_texts)
    line: Line = {"law of": "samples", "NFE": nfe}
    if grid.looks_at_tokens:
        return line
    noisy = config.policy().needs_noise
    truth = joint.sample(sizes.long_texts, torch.Generator().manual_seed(1))
    found = [law(backbone, config, truth, key) for key in range(sizes.keys if noisy else 1)]
    ratio = joint.log_prob(truth) - torch.stack([one.log_prob for one in found])  # log of truth over sampler
    line["law of"] = "paths" if noisy else "texts"
    line |= with_error("TV", (1 - (-ratio).exp()).clamp_min(0).mean(0))
    if not joint.is_plain_chain:
        line |= with_error("KL", ratio.mean(0))
    else:  # its mean over the tokens of each step is known, and varies less
        steps = [factorisation(joint, one.canvases, one.chosen).error for one in found]
        line |= with_error("KL", torch.stack([along(one, own) for one, own in zip(found, steps, strict=True)]).mean(0))
        line |= checked(joint, config, found)
    if not noisy:
        line |= with_error("reverse KL", law(backbone, config, drawn).log_prob - joint.log_prob(drawn))
    return line


def along(found: Law, of_steps: NDArray[np.float64]) -> Float64[Tensor, " N"]:
    """The sum of a figure of steps over the steps to each text."""
    total = np.zeros(len(found.nfe))
    for own, value in zip(found.through, of_steps, strict=True):
        total[own] += value
    return torch.from_numpy(total)


def with_error(name: str, values: Float64[Tensor, " n"]) -> Line:
    """Mean and its standard error."""
    return {name: float(values.mean()), f"{name} s.e.": float(values.std() / len(values) ** 0.5)}


def checked(joint: Joint, config: DecodingConfig, found: list[Law]) -> Line:
    """Holds the error of every step against its bounds; BoundExceeded if one is above."""
    shares, errors = [], []
    for one in found:
        steps = factorisation(joint, one.canvases, one.chosen)
        steps.check(config.policy(), f"{joint.name}, {config.sampler}")
        shares.append(steps.largest_share)
        errors.append(float(steps.error.max()))
    told = [share for share in shares if share is not None]
    return {"largest error of a step": max(errors), "largest share of its bound": max(told) if told else None}


def sampled(backbone: ExactBackbone, config: DecodingConfig, number: int) -> tuple[Canvases, float]:
    """Texts that the engine draws, and their mean NFE."""
    options = {name: getattr(config, name) for name in config.names()}
    records = generate(backbone, [[0]], repeat=number, batch_size=512, **options)
    return torch.tensor([one.token_ids for one in records]), float(np.mean([one.nfe for one in records]))


def hold_against(counts: Int[Tensor, " N"], law_of_texts: Float64[Tensor, " N"], what: str) -> None:
    """Raise RuntimeError if drawn texts do not follow the law that was calculated (Pearson's test, rare ones pooled).

    That the engine, led to a text, goes the way that it goes by itself is not taken on trust.
    """
    expected = law_of_texts / law_of_texts.sum() * counts.sum()
    often = expected >= 5
    told, wanted = (torch.cat([x[often], x[~often].sum()[None]]).double() for x in (counts, expected))
    statistic = float(((told - wanted) ** 2 / wanted.clamp_min(1e-300)).sum())
    probability = stats.chi2.sf(statistic, max(1, int(often.sum())))
    if not probability > 1e-9:
        raise RuntimeError(f"{what}: drawn texts do not follow the calculated law (chi-squared {statistic:.4g}).")


def ids_of(joint: Joint, texts: Canvases) -> Int[Tensor, " N"]:
    """Places of texts in `Joint.texts`."""
    return texts @ joint.vocab_size ** torch.arange(joint.length - 1, -1, -1)


def empirical(joint: Joint, counts: Int[Tensor, " N"]) -> dict[str, float]:
    """Distances of the distribution of drawn texts; even exact draws have some, which `noise_floor` tells."""
    shares = counts / counts.sum()
    p = joint.probabilities
    told = counts > 0
    reverse = (shares[told] * (shares[told].double() / p[told]).log()).sum()
    return {"TV": float((p - shares).abs().sum() / 2), "reverse KL": float(reverse)}


def noise_floor(joint: Joint, number: int, repeats: int = 50) -> Mapping[str, float]:
    """The mean distances of so many exact draws, and the standard deviation of the total variation."""
    generator = torch.Generator().manual_seed(2)
    found = []
    for _ in range(repeats):
        drawn = joint.probabilities.multinomial(number, replacement=True, generator=generator)
        found.append(empirical(joint, torch.bincount(drawn, minlength=len(joint.texts))))
    variations = [one["TV"] for one in found]
    return {
        "TV": float(np.mean(variations)),
        "TV s.d.": float(np.std(variations)),
        "reverse KL": float(np.mean([one["reverse KL"] for one in found])),
    }
