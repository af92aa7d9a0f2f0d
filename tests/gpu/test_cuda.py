"""The engine on a GPU; needs neither lm_eval nor the packages of the `test` extra beside pytest.

python -m pytest tests/gpu -o addopts= -m gpu
"""

import random

import pytest
import torch

from lm_eval_mdlm import generate, load_backbone
from lm_eval_mdlm.engine import readout
from tests.tiny import FAMILIES, make_checkpoint


pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
PROMPTS = [[random.Random(i).randrange(3, 390) for _ in range(5 + 11 * i % 90)] for i in range(40)]


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request, tmp_path_factory) -> str:
    sizes = {"hidden": 256, "layers": 4, "heads": 4, "kv_heads": 2, "ffn": 512}
    return str(make_checkpoint(tmp_path_factory.mktemp(request.param), request.param, **sizes))


def test_float32_logits_on_the_gpu_are_those_of_the_cpu(checkpoint):
    gpu = load_backbone(checkpoint, dtype="float32", device="cuda")
    cpu = load_backbone(checkpoint, dtype="float32", device="cpu")
    sequences = [torch.tensor(prompt) for prompt in PROMPTS[:6]]
    for ours, reference in zip(gpu.logits(sequences), cpu.logits(sequences), strict=True):
        assert (ours.cpu() - reference).abs().max() <= 2e-4


def test_bfloat16_uses_the_packed_kernel_and_stays_close(checkpoint):
    gpu = load_backbone(checkpoint, dtype="bfloat16", device="cuda")
    assert gpu.description["attention"] == "mdlm_packed_varlen"
    cpu = load_backbone(checkpoint, dtype="float32", device="cpu")
    sequences = [torch.tensor(prompt) for prompt in PROMPTS[:6]]
    for ours, reference in zip(gpu.logits(sequences), cpu.logits(sequences), strict=True):
        error = (ours.float().cpu() - reference).norm() / reference.norm()
        assert error <= 3e-2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tokens_and_nfe_do_not_depend_on_batch_size_or_order(checkpoint, dtype):
    backbone = load_backbone(checkpoint, dtype=dtype, device="cuda")
    options = {"sampler": "med", "entropy_threshold": 1.0, "gen_length": 48, "block_length": 16}
    alone = generate(backbone, PROMPTS, batch_size=1, **options)
    assert len({row.nfe for row in alone}) > 1
    for batch_size in (7, 32, "auto"):
        assert generate(backbone, PROMPTS, batch_size=batch_size, **options) == alone
    assert generate(backbone, PROMPTS[::-1], batch_size=9, **options)[::-1] == alone


LOOKING = [
    {"sampler": "klass", "confidence_threshold": 0.02, "kl_threshold": 2.0, "history": 1},
    {"sampler": "credit", "confidence_threshold": 0.97, "credit_strength": 0.3},
]


@pytest.mark.parametrize("more", [{}, {"cfg_scale": 0.5}], ids=str)
@pytest.mark.parametrize("options", LOOKING, ids=str)
def test_samplers_that_look_twice_do_on_the_gpu_what_they_do_on_the_cpu(checkpoint, options, more):
    options = {**options, **more, "gen_length": 32, "block_length": 16, "record_steps": True}
    gpu, cpu = (load_backbone(checkpoint, dtype="float32", device=device) for device in ("cuda", "cpu"))
    found, expected = (generate(one, PROMPTS[:12], batch_size=6, **options) for one in (gpu, cpu))
    # Logits differ by up to 2e-4, so that a position close to a threshold may fall on its other side.
    pairs = zip(found, expected, strict=True)
    same = sum((a.commit_steps, a.token_ids) == (b.commit_steps, b.token_ids) for a, b in pairs)
    assert same >= 10 and len({row.nfe for row in found}) > 1
    alone = generate(gpu, PROMPTS[:12], batch_size=1, **options)
    assert alone == found


@pytest.mark.parametrize("more", [{}, {"cfg_scale": 0.5, "temperature": 0.7}], ids=str)
@pytest.mark.parametrize("options", LOOKING, ids=str)
def test_logits_that_are_kept_have_the_bits_of_those_that_the_head_gives_again(checkpoint, options, more, monkeypatch):
    backbone = load_backbone(checkpoint, dtype="bfloat16", device="cuda")
    template = [{"reasoning": 20}, {"answer": 12}]  # answers are wanted, too, before they may be committed
    options = {**options, **more, "template": template, "block_length": 16, "record_steps": True}
    kept = [generate(backbone, PROMPTS[:12], batch_size=size, **options) for size in (1, 12)]
    monkeypatch.setattr(readout, "SHARE_KEPT", 0.0)
    assert generate(backbone, PROMPTS[:12], batch_size=12, **options) == kept[0] == kept[1]


def test_sampling_is_repeatable_and_independent_of_the_batch(checkpoint):
    backbone = load_backbone(checkpoint, dtype="bfloat16", device="cuda")
    options = {"temperature": 1.0, "gen_length": 32, "k": 2}
    alone = generate(backbone, PROMPTS, batch_size=1, **options)
    assert generate(backbone, PROMPTS, batch_size=32, **options) == alone
    assert generate(backbone, PROMPTS, batch_size=32, seed=1, **options) != alone
