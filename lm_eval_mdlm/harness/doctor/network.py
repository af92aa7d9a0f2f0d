"""Lines on a loaded network: kernels in use, what was detected, the probe's figures."""

import importlib.util

from ...backbones.attention import VARLEN
from ...backbones.backbone import Backbone
from ...checkpoints.figures import Figures, figures_of
from ...engine.statistics_reader import PlainStatistics, reader_for
from .findings import Findings


UNFUSED = "layers of transformers"
"""Name of the body that every network and device has."""


def tell_kernels(findings: Findings, backbone: Backbone) -> None:
    """Which run, and why others do not."""
    found = backbone.description
    body, attention = found["body"], found["attention"]
    on_gpu = backbone.device.type == "cuda"
    findings.mark(body != UNFUSED or not on_gpu, f"body: {body}{'' if body != UNFUSED else _why_unfused(backbone)}")
    if attention == VARLEN:
        findings.ok(f"attention: {attention}, one kernel for all canvases of a pass")
    else:
        why = _why_no_varlen(backbone)
        findings.mark(not on_gpu, f"attention: {attention}, one call per canvas: {why}")
    plain = isinstance(reader_for(backbone), PlainStatistics)
    if plain:
        why = "the Triton kernel could not be built or is not installed" if on_gpu else "its Triton kernel needs a GPU"
        findings.mark(not on_gpu, f"statistics: torch's operations; {why}")
    else:
        findings.ok("statistics: Triton kernel")
    spread = found["device_map"]
    findings.mark(spread is None, "the network is on one device" if spread is None else f"device_map={spread}: spread")


def _why_unfused(backbone: Backbone) -> str:
    if backbone.device.type != "cuda":
        return "; fused ones need a GPU"
    if backbone.description["device_map"] is not None:
        return "; fused ones need the whole network on one GPU"
    if backbone.description["attention"] != VARLEN:
        return f"; fused ones need the attention kernel: {_why_no_varlen(backbone)}"
    if importlib.util.find_spec("triton") is None:
        return "; fused ones need Triton, which is not installed"
    return "; these have no fused form, or its kernels could not be built (a warning at loading says which)"


def _why_no_varlen(backbone: Backbone) -> str:
    dtype = str(backbone.dtype).removeprefix("torch.")
    if backbone.device.type != "cuda":
        return "the kernel for all needs a GPU"
    if dtype not in ("bfloat16", "float16"):
        return f"the kernel for all needs bfloat16 or float16, and the network is in {dtype}"
    return "the kernel for all needs compute capability 8.0"


def tell_detected(findings: Findings, backbone: Backbone) -> None:
    """What the checkpoint was taken for."""
    found = backbone.description
    parameters = f"{found['num_parameters'] / 1e6:,.1f} million parameters"
    findings.ok(f"family {found['family']}, network {found['network']}, {parameters}, {found['dtype']}")
    grid = backbone.grid_block
    findings.ok(
        "visibility: every token sees its whole canvas"
        if grid is None
        else f"visibility: block-causal, grid of {grid} positions"
    )
    row = "one row before its own" if backbone.lookback else "of its own row"
    findings.ok(f"a token is read from the logits {row}")
    findings.ok(f"mask token {_named(backbone, backbone.mask_token_id)}")
    ends = ", ".join(_named(backbone, token) for token in backbone.end_token_ids)
    findings.mark(bool(backbone.end_token_ids), f"end-of-text tokens {ends or 'none'}")
    findings.ok(f"canvases of at most {backbone.max_length:,} tokens, {backbone.vocab_size:,} logits")


def _named(backbone: Backbone, token_id: int) -> str:
    if backbone.tokenizer is None:
        return str(token_id)
    return f"{token_id} {backbone.tokenizer.decode([token_id], skip_special_tokens=False)!r}"


def tell_figures(findings: Findings, backbone: Backbone) -> None:
    """Of the probe, which has let the network pass."""
    figures = figures_of(backbone)
    _tell_sight(findings, figures, backbone.grid_block)
    findings.mark(figures.mate == 0, f"another canvas in the pass changes states by {figures.mate:.1e}: none is seen")
    same = bool(backbone.description["rows_are_bitwise_independent"])
    findings.ok(f"alone against behind a mate: states differ by {figures.behind_mate:.1e} of the largest")
    findings.mark(
        same,
        "rows are bit-independent here: results do not depend on the batch"
        if same
        else "rows are not bit-independent here: near ties may fall either way as rows are batched",
    )


def _tell_sight(findings: Findings, figures: Figures, grid: int | None) -> None:
    whose = "bidirectional: the last token" if grid is None else "the last token of a grid block"
    findings.mark(figures.seen > 0, f"{whose} changes the first one's state by {figures.seen:.1e}")
    if figures.unseen is not None:
        findings.mark(figures.unseen == 0, f"blind to later blocks: they change it by {figures.unseen:.1e}")
