"""Encoders: milliseconds of a pass over canvases of many lengths, beside transformers' own forward.

python -m benchmarks.encoders [--device cuda] [--model-type bert]

Weights are random. `one by one` is transformers' forward on every input without padding, `padded` one forward over all
of them, padded to the longest. Prints only.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForMaskedLM

from lm_eval_mdlm.backbones.backbone import SpecialTokens
from lm_eval_mdlm.backbones.encoder import EncoderBackbone, Frame
from lm_eval_mdlm.checkpoints.encoder_probe import choose_grouping


CLS, SEP, MASK, VOCAB = 2, 3, 4, 30528
SHAPES: dict[str, dict[str, Any]] = {"bert": {}, "roberta": {"max_position_embeddings": 514}, "modernbert": {}}
LENGTHS = tuple(9 + 11 * i % 53 for i in range(32))
REPEATS = 9


def random_network(model_type: str, device: str, dtype: torch.dtype) -> Any:
    """A network of the type's base size."""
    special = {"pad_token_id": 0, "bos_token_id": CLS, "eos_token_id": SEP, "cls_token_id": CLS, "sep_token_id": SEP}
    config = AutoConfig.for_model(model_type, vocab_size=VOCAB, **special, **SHAPES[model_type])
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(config).eval().requires_grad_(False).to(device, dtype)


def milliseconds(call: Callable[[], Any], device: str) -> float:
    """Median time of a call, the device's work included."""
    times = []
    for _ in range(REPEATS + 2):
        if device != "cpu":
            torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return sorted(times[2:])[REPEATS // 2]


def main() -> None:
    """Print one line per number of canvases."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoders", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model-type", choices=SHAPES, default="bert")
    chosen = parser.parse_args()
    dtype = torch.float32 if chosen.device == "cpu" else torch.bfloat16
    network = random_network(chosen.model_type, chosen.device, dtype)
    backbone = EncoderBackbone(
        network,
        family="encoder",
        tokens=SpecialTokens(mask_token_id=MASK, end_token_ids=(SEP,), bos_token_id=None),
        tokenizer=None,
        frame=Frame((CLS,), (SEP,)),
        longest=512,
        pad_token_id=0,
        device=torch.device(chosen.device),
        description={},
    )
    choose_grouping(backbone, chosen.model_type, "random")
    print(chosen.model_type, dtype, backbone.grouping, dict(backbone.description))
    for number in (1, 8, 32):
        lengths = LENGTHS[:number]
        canvases = [torch.randint(5, VOCAB, (length,)) for length in lengths]
        token_ids, wanted = torch.cat(canvases), torch.arange(sum(lengths))[::4]
        inputs = [torch.tensor([[CLS, *ids.tolist(), SEP]], device=chosen.device) for ids in canvases]
        padded = torch.nn.utils.rnn.pad_sequence([ids[0] for ids in inputs], batch_first=True)
        mask = (padded != 0).long()
        with torch.inference_mode():
            ours = milliseconds(lambda: backbone.head(backbone.states(token_ids, lengths, wanted)), chosen.device)  # noqa: B023
            alone = milliseconds(lambda: [network(input_ids=ids).logits for ids in inputs], chosen.device)  # noqa: B023
            one = milliseconds(lambda: network(input_ids=padded, attention_mask=mask).logits, chosen.device)  # noqa: B023
        print(
            f"{number} canvases, {sum(lengths)} tokens: ours {ours:7.1f} ms; one by one {alone:7.1f}, padded {one:7.1f}"
        )


if __name__ == "__main__":
    main()
