"""Fine-tuning at the shape of a real model: peak memory beside its calculation, time, sizes, and loading it back.

    python -m benchmarks.training lora
    torchrun --nproc-per-node 2 -m benchmarks.training full

`lora` trains adapters on one device and loads them back beside the same base; `full` trains all weights, sharded over
the processes of the launcher, and loads what was saved. Weights are random, made on the device and written to
`--scratch`, which needs room for two copies in bfloat16 (32 GB at the shape llada-8b).
"""

import argparse
import dataclasses
import json
import os
import resource
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.networks import Shape, random_network
from benchmarks.options import parsed, parser, start
from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.checkpoints.families.llada import LLaDA
from lm_eval_mdlm.checkpoints.packaged import checkpoint_dir
from lm_eval_mdlm.demo import read_problems
from lm_eval_mdlm.training.config import TrainingConfig
from lm_eval_mdlm.training.footprint import GB, footprint
from lm_eval_mdlm.training.launch import Launch
from lm_eval_mdlm.training.networks import Source, with_adapter
from lm_eval_mdlm.training.plan import shape_of, workload_of
from lm_eval_mdlm.training.run import train


TEMPLATE = '[{"reasoning": LENGTH}, {"text": "\\nThe answer is "}, {"answer": 4}]'
OTHER_TOKENS = 104
"""Of a row, beside its reasoning: the prompt at its longest, the fixed text and the answer."""


def make_checkpoint(folder: Path, shape: Shape, device: str, dtype: torch.dtype) -> None:
    """A checkpoint in LLaDA's layout with random weights, and the demo's tokenizer; kept if it is there already."""
    config: dict[str, Any] = json.loads((checkpoint_dir() / "config.json").read_text())
    config |= {"d_model": shape.hidden, "n_layers": shape.layers, "n_heads": shape.heads, "n_kv_heads": shape.heads}
    config |= {"mlp_hidden_size": shape.ffn, "embedding_size": shape.vocab, "max_sequence_length": 4096}
    text = json.dumps(config, indent=2)
    if (folder / "config.json").is_file() and (folder / "config.json").read_text() == text:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(checkpoint_dir() / name, folder / name)
    network = random_network(shape, device, dtype)
    weights = {LLaDA().hub_name(name): weight.cpu() for name, weight in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(text)  # last: with it the checkpoint is whole


def write_examples(path: Path) -> None:
    """The packaged word problems as training examples: what is learnt does not matter here."""
    path.write_text("".join(json.dumps(problem) + "\n" for problem in read_problems(600)))


def config_of(options: argparse.Namespace, start_from: Path, out: Path, data: Path) -> TrainingConfig:
    """The run that is measured."""
    on_gpu = options.device.type == "cuda"
    common: dict[str, Any] = {
        "data": str(data),
        "out": str(out),
        "pretrained": str(start_from),
        "template": TEMPLATE.replace("LENGTH", str(options.length - OTHER_TOKENS)),
        "steps": options.steps,
        "batch_size": options.rows * Launch.current().num_processes,
        "warmup_steps": 2,
        "gradient_checkpointing": True,
        "log_every": 1,
        "cpu": not on_gpu,
        "precision": "bfloat16" if on_gpu else "float32",
        "save_dtype": "bfloat16" if on_gpu else "float32",
        "workers": 2 if on_gpu else 0,
    }
    if options.what == "lora":
        return TrainingConfig(
            **common, lora_rank=16, learning_rate=1e-4, adapter_only=True, save_every=options.steps // 2
        )
    return TrainingConfig(**common, shard=True, save_every=options.save_every)


def loads_back(options: argparse.Namespace, config: TrainingConfig) -> str:
    """Load what was saved as a user would; what it answers, finite and different from the start."""
    before, after, equal = (_of_adapter if options.what == "lora" else _of_network)(options, config)
    assert torch.isfinite(after).all(), "the loaded network must give numbers"
    assert not torch.equal(before, after), "training must have changed something"
    return f"{equal}, largest change of a logit {(before - after).abs().max():.3g}"


CANVAS = torch.arange(20, 52)


def _of_network(options: argparse.Namespace, config: TrainingConfig) -> tuple[Tensor, Tensor, str]:
    before, after = (
        load_backbone(str(folder), device=str(options.device)).logits([CANVAS])[0].float().cpu()
        for folder in (config.pretrained, config.out)
    )
    return before, after, "all weights"


def _of_adapter(options: argparse.Namespace, config: TrainingConfig) -> tuple[Tensor, Tensor, str]:
    """Beside the base; the file's weights are also those of the last resumable checkpoint."""
    device, out = options.device, Path(config.out)
    trained = Source.open(str(config.pretrained)).load(getattr(torch, config.network_dtype))
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        before = trained.network.to(device)(CANVAS[None].to(device)).logits[0].float().cpu()
        adapted = with_adapter(trained, out / "adapter").network.to(device)
        after = adapted(CANVAS[None].to(device)).logits[0].float().cpu()
    saved = load_file(out / "adapter" / "adapter_model.safetensors")
    last = load_file(out / "checkpoints" / f"checkpoint-{config.steps}" / "model.safetensors")
    kept = {name.removeprefix("network.").replace(".default", ""): weight for name, weight in last.items()}
    assert saved.keys() == kept.keys()
    assert all(torch.equal(weight, kept[name]) for name, weight in saved.items())
    return before, after, f"{len(saved)} adapters, equal to those of the last checkpoint"


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def report(options: argparse.Namespace, config: TrainingConfig, seconds: float) -> dict[str, Any]:
    """What this process saw."""
    launch, out = Launch.current(), Path(config.out)
    work = workload_of(config, rows=options.rows, length=options.length, num_processes=launch.num_processes)
    need = footprint(shape_of(Source.open(str(config.pretrained)), config), work)
    found: dict[str, Any] = {
        "process": launch.process,
        "run, s": round(seconds, 1),
        "calculated, GB": round(need.total / GB, 2),
        "parts": {name: round(value / GB, 2) for name, value in dataclasses.asdict(need).items()},
        "host memory at most, GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GB, 1),
    }
    if options.device.type == "cuda":
        found["peak in use, GB"] = round(torch.cuda.max_memory_allocated() / GB, 2)
        found["peak reserved, GB"] = round(torch.cuda.max_memory_reserved() / GB, 2)
    if launch.is_first:
        parts = [path for path in sorted(out.iterdir()) if path.name != "checkpoints"]
        parts += sorted((out / "checkpoints").glob("checkpoint-*"))
        found["saved, MB"] = {str(path.relative_to(out)): round(size(path) / 1e6, 2) for path in parts}
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Make a checkpoint, train, report, load back."""
    made = parser(__doc__)
    made.add_argument("what", choices=("lora", "full"))
    made.add_argument("--steps", type=int, default=20)
    made.add_argument("--rows", type=int, default=8, help="of one pass on one device")
    made.add_argument("--length", type=int, default=512, help="tokens of a row at most")
    made.add_argument("--save-every", type=int, default=0, help="of full: resumable checkpoints, of 12 bytes a weight")
    made.add_argument("--scratch", type=Path, default=Path("build/benchmarks/training"))
    options = parsed(made, argv)
    launch = Launch.current()
    if options.device.type == "cuda":
        options.device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    base, out, data = (options.scratch / name for name in ("base", options.what, "train.jsonl"))
    ready = (
        options.scratch / f"ready-{os.environ.get('TORCHELASTIC_RUN_ID', 'alone')}-{os.environ.get('MASTER_PORT', 0)}"
    )
    if launch.is_first:
        make_checkpoint(base, options.shape, str(options.device), options.dtype)
        torch.cuda.empty_cache()
        write_examples(data)
        shutil.rmtree(out, ignore_errors=True)
        ready.touch()
    while not ready.exists():  # there is no process group before the run
        time.sleep(0.2)
    config = config_of(options, base, out, data)
    if options.device.type == "cuda":
        torch.cuda.init()  # a process that made no checkpoint has not used its device yet
        torch.cuda.reset_peak_memory_stats(options.device)
    began = time.perf_counter()
    train(config)
    print(json.dumps(report(options, config, time.perf_counter() - began)), flush=True)
    launch.wait_for_all()
    if launch.is_first:
        ready.unlink()
        torch.cuda.empty_cache()
        print("loaded back: " + loads_back(options, config), flush=True)


if __name__ == "__main__":
    start(main)
