"""Checkpoints that were used and that nobody holds any more: their memory is given back."""

import gc
import weakref

from lm_eval_mdlm import generate, load_backbone, loglikelihood
from lm_eval_mdlm.canvas.vocabulary import vocabulary_fingerprint
from tests.tiny import make_checkpoint


def test_a_checkpoint_that_nobody_holds_is_gone_with_its_tokenizer(tmp_path):
    backbone = load_backbone(str(make_checkpoint(tmp_path, hidden=16, layers=1, heads=1, ffn=16)), device="cpu")
    template = [{"reasoning": 3}, {"text": " <|mdm_mask|> is "}, {"answer": 2}]
    generate(backbone, [[5, 6]], template=template, answers=["7"], until=["e", "<|eot_id|>"], cache="dual")
    generate(backbone, [[5, 6]], sampler="ada_block", gen_length=4, think_end_token="so", suppress_tokens=["a"])
    loglikelihood(backbone, [([5], [6])])
    vocabulary_fingerprint(backbone.tokenizer, "a test")
    held = [weakref.ref(part) for part in (backbone, backbone.tokenizer, backbone._lm_head)]
    del backbone
    gc.collect()
    assert [part() for part in held] == [None] * 3
