"""Variance of log-likelihood estimators at equal passes, and whether their standard errors are right.

    python -m benchmarks.variance --made
    python -m benchmarks.variance --demo --documents 2

`--made` draws from tables that are written down: effects of positions, of pairs, of sizes, of one position, and noise
in every set. `--demo` runs the packaged model on the solutions of its word problems, cut to `--lengths` tokens. Each
estimate is repeated with other keys. The published estimator is LLaDA's; its bias, calculated from the distribution
of its sizes, is no part of its variance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.options import command, parsed, parser, start
from benchmarks.report import Report, Value
from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.backbones.backbone import Backbone
from lm_eval_mdlm.decoding.likelihood.elbo import Elbo
from lm_eval_mdlm.decoding.likelihood.estimator import Estimate, Estimator, Masking
from lm_eval_mdlm.decoding.likelihood.published import PublishedLLaDA
from lm_eval_mdlm.decoding.proposal import RowKey
from lm_eval_mdlm.demo import read_problems


LogProbs = Callable[[NDArray[np.bool_]], NDArray[np.float32]]
"""Sets of masked positions, (n, L), to log-probabilities of all tokens; only those of masked ones are read."""


def made_tables(length: int, seed: int = 1) -> dict[str, LogProbs]:
    """Log-probabilities with one kind of cause each."""
    generator = np.random.default_rng(seed)
    position = -generator.exponential(1.5, length)
    pair = generator.normal(0, 1, (length, length)) / np.sqrt(length)
    dominant = np.where(np.arange(length) == length // 3, -10.0, -0.2)
    places = generator.integers(1, 2**31, length)

    def share(sets: NDArray[np.bool_]) -> NDArray[np.float64]:
        return sets.mean(-1, keepdims=True)

    def neighbours(sets: NDArray[np.bool_]) -> NDArray[np.float64]:
        left, right = np.roll(sets, 1, -1), np.roll(sets, -1, -1)
        return position * (0.15 + 0.85 * (left & right) + 0.3 * left)

    def noise(sets: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.stack([np.random.default_rng(int(one @ places)).normal(-2, 1, length) for one in sets])

    return {
        "positions, size": lambda sets: position - 2 * share(sets),
        "positions times size": lambda sets: position * (0.2 + 1.6 * share(sets)),
        "pairs": lambda sets: position - share(sets) + sets @ pair.T,
        "neighbours": neighbours,
        "one position": lambda sets: dominant * share(sets),
        "noise": noise,
    }


@dataclass(frozen=True)
class Continuation:
    """Tokens that the model scores behind a prompt."""

    backbone: Backbone
    prompt: torch.Tensor
    tokens: torch.Tensor

    @torch.inference_mode()
    def __call__(self, sets: NDArray[np.bool_]) -> NDArray[np.float32]:
        """See `LogProbs`."""
        found = []
        for hidden in torch.from_numpy(sets).split(64):
            ids = torch.where(hidden, self.backbone.mask_token_id, self.tokens)
            rows = torch.cat([self.prompt.expand(len(ids), -1), ids], dim=1)
            logits = torch.stack(self.backbone.logits(list(rows)))[:, len(self.prompt) :].float()
            chosen = self.tokens.expand(len(ids), -1)[..., None]
            found.append(logits.log_softmax(-1).gather(-1, chosen)[..., 0])
        return torch.cat(found).cpu().numpy()


def read_continuations(backbone: Backbone, documents: int, length: int) -> list[Continuation]:
    """The first solutions that are long enough, cut to `length` tokens."""
    tokenizer = backbone.tokenizer
    assert tokenizer is not None, "the packaged model has one"
    problems = read_problems(10 * documents)
    pairs = [tuple(torch.tensor(tokenizer.encode(one[part])) for part in ("prompt", "solution")) for one in problems]
    long_enough = [Continuation(backbone, prompt, tokens[:length]) for prompt, tokens in pairs if len(tokens) >= length]
    return long_enough[:documents]


def repeated(estimator: Estimator, length: int, repeats: int) -> list[list[Masking]]:
    """Maskings with `repeats` different keys."""
    return [estimator.maskings(length, RowKey.of(0, [length], [repeat], 0)) for repeat in range(repeats)]


def estimated(
    estimator: Estimator, draws: Sequence[Sequence[Masking]], log_probs: LogProbs, length: int
) -> tuple[list[Estimate], dict[bytes, NDArray[np.float32]]]:
    """Estimates from all draws, every set run once, and the log-probabilities of all sets."""
    sets = np.zeros((sum(map(len, draws)), length), dtype=bool)
    for row, one in zip(sets, (one for maskings in draws for one in maskings), strict=True):
        row[one.masked] = True
    sets = np.unique(sets, axis=0)
    known = dict(zip((np.flatnonzero(one).tobytes() for one in sets), log_probs(sets), strict=True))
    return [
        estimator.estimate(length, maskings, [known[m.masked.tobytes()][m.scored].astype(np.float32) for m in maskings])
        for maskings in draws
    ], known


def compared(log_probs: LogProbs, length: int, passes: int, repeats: int) -> dict[str, Value]:
    """One line: the spread of each estimator at equal passes."""
    ours = Elbo(passes)
    found, known = estimated(ours, repeated(ours, length, repeats), log_probs, length)
    variance = float(np.var([one.value for one in found], ddof=1))
    line: dict[str, Value] = {"L": length, "passes": passes, "elbo variance": variance}
    for batch in (1, 8):
        rounds = PublishedLLaDA(batch, batch)  # independent of each other, so one tells what many would give
        draws = repeated(rounds, length, max(16 * repeats // batch, 64))
        values = [one.value for one in estimated(rounds, draws, log_probs, length)[0]]
        line[f"llada b={batch} variance"] = float(np.var(values, ddof=1)) * batch / passes
        line[f"elbo / b={batch}"] = variance / line[f"llada b={batch} variance"]
    line["llada b=8 bias"] = bias(PublishedLLaDA(8, 8), known, length)
    # Where balance makes it exact, only rounding is left to compare.
    exact = variance < 1e-9 * float(np.var(values))
    line["mean se^2 / variance"] = None if exact else float(np.mean([e.standard_error**2 for e in found])) / variance
    return line


def bias(estimator: PublishedLLaDA, known: dict[bytes, NDArray[np.float32]], length: int) -> float:
    """Of the published estimate, nats: from its sizes by enumeration, and the mean log-probability at each size."""
    of_size: list[list[float]] = [[] for _ in range(length)]
    for masked, found in known.items():
        where = np.frombuffer(masked, np.int64)
        of_size[len(where) - 1].append(float(found[where].mean()))
    drawn = np.concatenate([estimator.sizes(first, length) for first in range(1, length + 1)])
    times_length = np.bincount(drawn, minlength=length + 1)[1:] / estimator.mc_batch
    return float(sum((times_length[i] - 1) * np.mean(values) for i, values in enumerate(of_size) if values))


def main(argv: Sequence[str] | None = None) -> None:
    made = parser(__doc__, with_shape=False)
    made.add_argument("--made", action="store_true", help="tables that are written down")
    made.add_argument("--demo", action="store_true", help="the packaged model")
    made.add_argument("--lengths", type=int, nargs="+", default=[8, 20, 60], help="tokens (%(default)s)")
    made.add_argument("--passes", type=int, nargs="+", default=[16, 32, 128], help="of an estimate (%(default)s)")
    made.add_argument("--repeats", type=int, default=100, help="keys (%(default)s)")
    made.add_argument("--documents", type=int, default=2, help="of the demo, for each length (%(default)s)")
    options = parsed(made, argv)
    sources: list[tuple[str, int, LogProbs]] = []
    if options.made:
        sources += [(name, n, table) for n in options.lengths for name, table in made_tables(n).items()]
    if options.demo:
        backbone = load_backbone("demo", device="cpu")
        for length in options.lengths:
            found = read_continuations(backbone, options.documents, length)
            sources += [(f"demo {i}", length, one) for i, one in enumerate(found)]
    rows: list[dict[str, Value]] = [
        {"log-probabilities": name, **compared(log_probs, length, passes, options.repeats)}
        for name, length, log_probs in sources
        for passes in options.passes
        if not Elbo(passes).is_exact(length)
    ]
    report = Report(name="variance", command=command("variance", argv), rows=rows, device=options.device)
    report.write(options.out)


if __name__ == "__main__":
    start(main)
