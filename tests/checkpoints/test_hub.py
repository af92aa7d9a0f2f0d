"""Hub ids against a local cache as the hub client lays it out, with no way to the hub."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lm_eval_mdlm import UsageError, load_backbone
from lm_eval_mdlm.checkpoints.checkpoint import Checkpoint
from tests.tiny import make_checkpoint, random_ids


COMMITS = {"main": "a" * 40, "old": "b" * 40}


def store(cache: Path, repository: str, folder: Path, revision: str) -> None:
    """Put `folder` into a cache: refs name commits, snapshots link to blobs named by their hash."""
    root = cache / f"models--{repository.replace('/', '--')}"
    commit = COMMITS[revision]
    for part in ("refs", "blobs", f"snapshots/{commit}"):
        (root / part).mkdir(parents=True, exist_ok=True)
    (root / "refs" / revision).write_text(commit)
    for file in folder.iterdir():
        content = file.read_bytes()
        blob = root / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (root / "snapshots" / commit / file.name).symlink_to(Path("../../blobs") / blob.name)


@pytest.fixture(scope="module")
def cache(tmp_path_factory, checkpoints) -> Path:
    cache = tmp_path_factory.mktemp("hub")
    store(cache, "someone/tiny-llada", checkpoints["llada"], "main")
    store(cache, "someone/tiny-dream", checkpoints["dream"], "main")
    store(cache, "someone/tiny-llada", make_checkpoint(cache / "old", seed=5, sharded=True), "old")
    return cache


@pytest.fixture
def in_cache(cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_a_hub_id_is_loaded_from_the_cache_with_its_tokenizer(in_cache, backbones, family):
    backbone = load_backbone(f"someone/tiny-{family}", device="cpu")
    ids = random_ids(30)
    assert torch.equal(backbone.logits([ids])[0], backbones[family].logits([ids])[0])
    assert backbone.tokenizer.encode("12 loaves") == backbones[family].tokenizer.encode("12 loaves")
    assert backbone.description["commit_hash"] == COMMITS["main"]


@pytest.mark.parametrize("revision", ["old", COMMITS["old"]])
def test_a_revision_chooses_its_own_files(in_cache, backbones, revision):
    backbone = load_backbone("someone/tiny-llada", revision=revision, device="cpu")
    ids = random_ids(30)
    assert not torch.equal(backbone.logits([ids])[0], backbones["llada"].logits([ids])[0])
    assert backbone.description["commit_hash"] == COMMITS["old"]


@pytest.mark.parametrize(
    ("pretrained", "revision"),
    [("someone/unknown", None), ("someone/tiny-llada", "none"), ("no/such/folder", None), ("a b", None), ("", None)],
)
def test_an_id_that_is_not_there_is_named_in_one_line(in_cache, tmp_path, pretrained, revision):
    with pytest.raises(UsageError) as refusal:
        load_backbone(pretrained, revision=revision, device="cpu")
    message = str(refusal.value)
    assert repr(pretrained) in message and "\n" not in message
    assert revision is None or repr(revision) in message


def test_a_file_is_not_taken_for_a_hub_id(checkpoints):
    with pytest.raises(UsageError, match="got the file"):
        load_backbone(str(checkpoints["llada"] / "config.json"), device="cpu")


def test_weights_are_fetched_at_the_commit_of_the_config(monkeypatch, tmp_path):
    calls = []

    def download(repository, *, revision, allow_patterns):
        calls.append((repository, revision, tuple(allow_patterns)))
        (tmp_path / "snapshots" / COMMITS["main"]).mkdir(parents=True, exist_ok=True)
        return str(tmp_path / "snapshots" / COMMITS["main"])

    monkeypatch.setattr("lm_eval_mdlm.checkpoints.checkpoint.snapshot_download", download)
    Checkpoint.open("someone/model", "branch").fetch_weights()
    (_, first, small), (_, second, weights) = calls
    assert (first, second) == ("branch", COMMITS["main"])
    assert "*.safetensors" in weights and "*.safetensors" not in small and "*.py" not in small + weights


def test_the_environment_alone_leads_to_the_cache(cache):
    code = (
        "import json, torch; from lm_eval_mdlm import load_backbone;"
        "b = load_backbone('someone/tiny-dream', device='cpu');"
        "print(json.dumps([b.description['commit_hash'], b.logits([torch.arange(9)])[0].shape]))"
    )
    environment = os.environ | {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [COMMITS["main"], [9, 512]]
