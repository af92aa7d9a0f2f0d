"""What a run is about to do, said before it does it: what is trained, on what, and whether that fits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import UsageError
from .config import TrainingConfig
from .examples import read_examples
from .footprint import GB, Footprint, NetworkShape, Workload, footprint
from .launch import Launch
from .layout import Layout, TokenizedExample, Unfit, tokenize
from .networks import Source, with_lora


@dataclass(frozen=True, kw_only=True)
class ExampleSet:
    """The examples of one file."""

    path: Path
    examples: list[TokenizedExample]
    """Those that fit."""
    unfit: list[Unfit]
    longest: int
    """Tokens of the longest canvas of any of them."""
    num_holding_mask: int = 0
    """Examples whose text held that of the mask token, which is ordinary text in them."""

    @classmethod
    def read(cls, path: Path, source: Source, layout: Layout) -> "ExampleSet":
        """Read and tokenise; UsageError for a malformed line."""
        held_mask: set[int] = set()

        def encode_all(texts: list[str]) -> list[list[int]]:
            ids: list[list[int]] = source.tokenizer(texts, add_special_tokens=False)["input_ids"]
            for i, tokens in enumerate(ids):
                if source.tokens.mask_token_id in tokens:  # it would become a target
                    ids[i] = source.encoder.encode(texts[i], add_special_tokens=False).token_ids
                    held_mask.add(i)
            return ids

        fit, unfit = tokenize(read_examples(path), encode_all, layout=layout, max_length=source.max_length)
        longest = max((layout.longest(example) for example in fit), default=0)
        return cls(path=path, examples=fit, unfit=unfit, longest=longest, num_holding_mask=len(held_mask))

    def refuse_unfit(self) -> None:
        """UsageError if any example does not fit; names the first of each reason."""
        if self.unfit:
            firsts: dict[str, str] = {}
            for unfit in self.unfit:
                firsts.setdefault(unfit.reason, unfit.detail)
            raise UsageError(
                f"{self.path}: {len(self.unfit)} of {self._num_read} examples do not fit: "
                f"{'; '.join(firsts.values())}; or train without them: --skip-unfit."
            )

    def refuse_none_left(self) -> None:
        """UsageError if no example fits."""
        if not self.examples:
            raise UsageError(f"{self.path}: none of {self._num_read} examples fits: {self.unfit[0].detail}.")

    def lines(self, label: str) -> Iterator[str]:
        """For the user."""
        tokens = sum(len(piece) for e in self.examples for piece in (e.prompt, e.solution, *_given(e.answer)))
        yield f"{label}: {len(self.examples):,} examples, {tokens:,} tokens, canvases of up to {self.longest:,} tokens"
        if self.num_holding_mask:
            yield f"  the mask token's text in {self.num_holding_mask:,} of them was tokenised as ordinary text"
        for reason in dict.fromkeys(unfit.reason for unfit in self.unfit):
            lines = [unfit.line for unfit in self.unfit if unfit.reason == reason]
            yield f"  {len(lines):,} of {self._num_read:,} do not fit: {reason} (line {lines[0]} first)"

    @property
    def _num_read(self) -> int:
        return len(self.examples) + len(self.unfit)


def _given(answer: "np.ndarray | None") -> Sequence[np.ndarray]:
    return () if answer is None else (answer,)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is known before weights are read."""

    config: TrainingConfig
    source: Source
    shape: NetworkShape
    work: Workload
    data: ExampleSet
    held_out: ExampleSet | None
    device: torch.device
    launch: Launch

    @property
    def footprint(self) -> Footprint:
        """Memory of each device, by calculation."""
        return footprint(self.shape, self.work)

    def lines(self) -> Iterator[str]:
        """For the user, a line each."""
        config, shape = self.config, self.shape
        what = f"LoRA adapters of rank {config.lora_rank}" if config.lora_rank else "all weights"
        kind = f"{self.source.family.name}, {shape.num_weights:,} weights"
        begin = "drawn at random" if config.from_scratch else self.source.checkpoint.pretrained
        yield f"network: {kind}, {begin}"
        yield f"trained: {what}, {shape.num_trained:,} weights, by {config.optim} at {config.learning_rate:g}"
        yield from self.data.lines("training")
        if self.held_out is not None:
            yield from self.held_out.lines("validation")
        passes = config.steps * config.batch_size / max(len(self.data.examples), 1)
        yield (
            f"steps: {config.steps:,} of {config.batch_size:,} rows, {passes:.2g} times over the data; "
            f"{self.work.rows:,} rows per pass on each of {self.launch.num_processes} device(s)"
        )
        yield f"memory: {self._memory()}"

    def _memory(self) -> str:
        need = self.footprint
        parts = {
            "weights": need.weights + need.copies,
            "gradients": need.gradients,
            "optimiser and averages": need.optimiser + need.averages,
            "passes": need.activations + need.logits,
        }
        listed = ", ".join(f"{name} {size / GB:.3f}" for name, size in parts.items())
        text = f"about {need.total / GB:.3f} GB on each device ({listed})"
        if self.device.type != "cuda":
            return text
        there = torch.cuda.get_device_properties(self.device).total_memory
        hint = "" if need.total <= there else "; it may not fit: see docs/training.md for what makes it smaller"
        return f"{text}, {there / GB:.0f} GB there{hint}"


def shape_of(source: Source, config: TrainingConfig) -> NetworkShape:
    """Counted in the network itself, without its weights."""
    network = source.outline()
    num_weights = sum(weight.numel() for weight in network.parameters())
    num_trained = num_weights
    if config.lora_rank:
        with torch.device("meta"):
            adapted = with_lora(network, rank=config.lora_rank, alpha=config.lora_alpha)
        num_trained = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    sizes = source.architecture.config
    return NetworkShape(
        num_layers=sizes.num_hidden_layers,
        hidden=sizes.hidden_size,
        mlp_hidden=sizes.intermediate_size,
        vocabulary=sizes.vocab_size,
        num_weights=num_weights,
        num_trained=num_trained,
    )


def workload_of(config: TrainingConfig, *, rows: int, length: int, num_processes: int) -> Workload:
    """Of the options of a run; `rows` of one pass on one device."""
    return Workload(
        weight_bytes=getattr(torch, config.network_dtype).itemsize,
        computes_in_bfloat16=config.precision == "bfloat16",
        has_frozen_base=bool(config.lora_rank),
        optim=config.optim,
        averages=bool(config.average_decay),
        num_shards=num_processes if config.shard else 1,
        rows=rows,
        length=length,
        gradient_checkpointing=config.gradient_checkpointing,
    )
