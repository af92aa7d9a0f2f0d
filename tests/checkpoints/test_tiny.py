"""The tiny checkpoints of the tests are the same everywhere, and lively enough to tell policies apart."""

import pytest
import torch

from tests import tiny_families
from tests.tiny import FAMILIES, main, make_checkpoint, special_tokens, token_id


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("family", (*FAMILIES, *tiny_families.FAMILIES))
def test_a_checkpoint_is_the_same_whenever_it_is_made(tmp_path, family):
    first, second, other = (
        contents(make_checkpoint(tmp_path / str(place), family, seed=seed)) for place, seed in enumerate((0, 0, 1))
    )
    assert first == second
    assert {name for name in first if first[name] != other[name]} == {"model.safetensors"}


def test_shards_hold_the_same_network(tmp_path, family):
    from lm_eval_mdlm import load_backbone

    ids = torch.arange(50)
    whole, sharded = (
        load_backbone(str(make_checkpoint(tmp_path / str(sharded), family, sharded=sharded)), device="cpu")
        for sharded in (False, True)
    )
    assert torch.equal(whole.logits([ids])[0], sharded.logits([ids])[0])


def test_masks_are_told_apart_and_range_from_sure_to_unsure(backbone):
    prompt = backbone.tokenizer.encode("A baker sells 12 loaves in the morning and")
    canvas = torch.tensor(prompt + [backbone.mask_token_id] * 48)
    chances = backbone.logits([canvas])[0][-48:].softmax(dim=-1)
    entropy = torch.special.entr(chances).sum(dim=-1)
    assert entropy.min() < 0.1 < 1.0 < entropy.max()
    assert chances.argmax(dim=-1).unique().numel() > 8
    assert (chances.argmax(dim=-1) < len(backbone.tokenizer)).all()


def test_added_tokens_follow_the_ordinary_ones(backbone, family):
    for token in special_tokens(family):
        assert backbone.tokenizer.encode(token, add_special_tokens=False) == [token_id(family, token)]


def test_the_command_writes_a_checkpoint(tmp_path, monkeypatch, family):
    monkeypatch.setattr("sys.argv", ["tiny", str(tmp_path / "made"), "--family", family])
    main()
    assert contents(tmp_path / "made") == contents(make_checkpoint(tmp_path / "expected", family))
