"""The probe of block-causal networks, and of readings that fit better than the declared one."""

import logging

import pytest
import torch
from torch import Tensor

from lm_eval_mdlm import UsageError, load_backbone
from lm_eval_mdlm.backbones.backbone import Backbone
from lm_eval_mdlm.backbones.layout import Layout
from lm_eval_mdlm.checkpoints import load, probe_fit
from lm_eval_mdlm.checkpoints.probe import prove_bidirectional
from lm_eval_mdlm.checkpoints.probe_fit import clearly_better
from tests.checkpoints.test_probe import Mixer
from tests.tiny import make_checkpoint


def by_blocks(size, *, within=True, ahead=0):
    """Each token and the mean of what it sees: blocks of `size` and `ahead` more positions, or no later one."""

    def mix(x: Tensor, lengths: list[int]) -> Tensor:
        rows = []
        for canvas in x.split(list(lengths)):
            for i in range(len(canvas)):
                end = (i // size + 1) * size + ahead if within else i + 1
                rows.append(canvas[i] + canvas[:end].mean(dim=0))
        return torch.stack(rows)

    return mix


def grid_of(size, mix):
    backbone = Mixer(mix)
    backbone.grid_block = size
    return backbone


@pytest.mark.parametrize("size", [1, 2, 4, 7, 29, 32, 64, 512, 1000])
def test_a_network_that_sees_its_own_and_earlier_blocks_passes(size):
    assert prove_bidirectional(grid_of(size, by_blocks(size)), "some/model") is True


@pytest.mark.parametrize("size", [2, 4, 7, 29, 32, 64])
def test_a_network_with_another_sight_is_refused(size):
    for mix, named in (
        (by_blocks(size, within=False), f"see whole grid blocks of {size}"),
        (by_blocks(size, ahead=1), f"blind to later grid blocks of {size}"),
        (by_blocks(2 * size), f"blind to later grid blocks of {size}"),
    ):
        with pytest.raises(UsageError, match=named):
            prove_bidirectional(grid_of(size, mix), "some/model")


@pytest.mark.parametrize(("size", "named"), [(8, "blind to later"), (2, "see whole grid blocks")])
def test_a_checkpoint_whose_passes_have_another_grid_is_refused(tmp_path, monkeypatch, size, named):
    folder = make_checkpoint(tmp_path, "sdar")
    of = Layout.of
    monkeypatch.setattr(Layout, "of", lambda lengths, num_tokens, grid_block=None: of(lengths, num_tokens, size))
    with pytest.raises(UsageError, match=named):
        load_backbone(str(folder), device="cpu", grid_block=4)


class Reader(Backbone):
    """Knows the texts by heart, where it is read as it was trained; elsewhere it guesses among all tokens."""

    def __init__(self, *, grid: int | None, shift: int, knows: float = 1.0) -> None:
        self.trained, self.knows, self.vocab_size, self.max_length = (grid, shift), knows, 256, 512
        self.device, self.dtype, self.tokenizer, self.mask_token_id = torch.device("cpu"), torch.float32, self, 255
        self.grid_block, self.lookback, self.passes = grid, shift, 0

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return list(text.encode())

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = False) -> str:
        return bytes(token_ids).decode()

    def states(self, token_ids: Tensor, lengths: list[int], wanted: Tensor) -> Tensor:
        self.passes += 1
        canvases, known = token_ids.split(list(lengths)), []
        for canvas in canvases:
            text = next(t for t in probe_fit.TEXTS if t.encode().startswith(bytes(canvas[:32].tolist()))).encode()
            known.append(torch.tensor(list(text[: len(canvas)])))
        shift = self.trained[1]
        answers = torch.cat([torch.cat([own[shift:], own[:shift]]) for own in known])
        right = torch.nn.functional.one_hot(answers, 256).float() * 10.0
        fits = self.grid_block == self.trained[0]
        return right[wanted] * (self.knows if fits else 0.0)

    def head(self, states: Tensor) -> Tensor:
        return states


@pytest.mark.parametrize(("grid", "shift"), [(None, 0), (None, 1), (4, 0), (32, 0), (24, 0)])
def test_the_declared_reading_stands_where_it_is_the_right_one(grid, shift):
    backbone = Reader(grid=grid, shift=shift)
    assert clearly_better(backbone, 10**8) is None
    assert (backbone.grid_block, backbone.lookback) == (grid, shift)
    assert 1 <= backbone.passes <= 7


@pytest.mark.parametrize(
    ("trained", "declared"),
    [((None, 0), (None, 1)), ((None, 1), (None, 0)), ((4, 0), (32, 0)), ((32, 0), (None, 0)), ((None, 0), (4, 0))],
)
def test_a_reading_that_fits_better_is_named(trained, declared):
    backbone = Reader(grid=trained[0], shift=trained[1])
    backbone.grid_block, backbone.lookback = declared
    own, best = clearly_better(backbone, 10**8)
    assert (own.grid_block, own.lookback) == declared == (backbone.grid_block, backbone.lookback)
    assert (best.grid_block, best.lookback) == trained
    assert best.loss < 0.1 < own.loss


@pytest.mark.parametrize("lack", ["knowledge", "difference", "size", "speed", "tokenizer", "room", "memory"])
def test_nothing_is_said_where_nothing_can_be(lack):
    knows = {"knowledge": 0.001, "difference": 0.0}.get(lack, 1.0)
    backbone = Reader(grid=4, shift=0, knows=knows)
    backbone.grid_block = 32
    if lack == "tokenizer":
        backbone.tokenizer = None
    if lack == "memory":
        backbone.head = lambda states: (_ for _ in ()).throw(torch.OutOfMemoryError("no room"))
    if lack == "room":
        backbone.max_length = 90
    size = {"size": 9_999_999, "speed": 10**10}.get(lack, 10**8)
    assert clearly_better(backbone, size) is None
    assert (backbone.passes > 0) == (lack in ("knowledge", "difference", "memory"))
    assert backbone.grid_block == 32


def test_a_better_reading_is_told_in_one_line_at_load(tmp_path, monkeypatch, caplog):
    own = probe_fit.Reading(grid_block=4, lookback=0, losses=(3.0, 5.0))
    best = probe_fit.Reading(grid_block=None, lookback=1, losses=(1.0, 1.5))
    monkeypatch.setattr(load, "clearly_better", lambda backbone, num_parameters: (own, best))
    with caplog.at_level(logging.WARNING):
        load_backbone(str(make_checkpoint(tmp_path, "sdar")), device="cpu", grid_block=4)
    (record,) = caplog.records
    line = record.getMessage()
    assert "see the whole canvas, each read from the state before its own (1.25 nats a token)" in line
    assert "grid_block=4 (4.00 nats a token), as declared" in line and "\n" not in line
