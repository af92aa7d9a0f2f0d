"""Networks that are loaded from several threads at once, and what that leaves behind for later ones."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import torch
from transformers import LlamaForCausalLM, PreTrainedModel, Qwen2ForCausalLM

from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.training.networks import Source
from tests.tiny import make_checkpoint


def test_networks_are_loaded_one_at_a_time_and_later_tied_heads_have_their_values(tmp_path, family, monkeypatch):
    folder = str(make_checkpoint(tmp_path, family, tied=True))
    tie, before = PreTrainedModel.tie_weights, load_backbone(folder, device="cpu").logits([torch.arange(20)])[0]
    native = {"llada": LlamaForCausalLM, "dream": Qwen2ForCausalLM}[family]
    load, loading, overlaps = native.from_pretrained.__func__, [], []

    def watched(cls, *args, **kwargs):
        loading.append(threading.get_ident())
        overlaps.append(len(loading))
        time.sleep(0.02)  # long enough for another thread to get here
        try:
            return load(cls, *args, **kwargs)
        finally:
            loading.pop()

    monkeypatch.setattr(native, "from_pretrained", classmethod(watched))
    monkeypatch.setattr(PreTrainedModel, "tie_weights", tie)  # whatever happens here, later tests have it
    with ThreadPoolExecutor(4) as pool:
        backbones = [pool.submit(load_backbone, folder, device="cpu") for _ in range(4)]
        trained = [pool.submit(Source.open(folder).load, torch.float32) for _ in range(4)]
        networks = [future.result().network for future in trained]
    assert overlaps == [1] * 8 and PreTrainedModel.tie_weights is tie
    assert all(network.lm_head.weight is network.model.embed_tokens.weight for network in networks)
    for backbone in [*(future.result() for future in backbones), load_backbone(folder, device="cpu")]:
        assert torch.equal(backbone.logits([torch.arange(20)])[0], before)
