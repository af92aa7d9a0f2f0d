"""Settings of every test: one thread, and no way to a hub; one tiny checkpoint and one loaded backbone per family."""

import functools
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


# Before torch and the hub's clients are imported. Tiny tensors are slower on several threads, and far slower where
# tests share their cores.
os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import torch
from torch.utils import collect_env

from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.backbones.packed import PackedBackbone
from tests.forking import Forks
from tests.tiny import FAMILIES, make_checkpoint


@pytest.fixture(scope="session", autouse=True)
def machine_described_once() -> Iterator[None]:
    """The harness asks a dozen programs about the machine after every run, `pip list` among them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect_env, "get_pretty_env_info", functools.cache(collect_env.get_pretty_env_info))
        yield


@pytest.fixture(scope="session", autouse=True)
def stock_tasks_left_unread() -> Iterator[None]:
    """Nothing where lm_eval is not installed, as where only the tests of a GPU are run."""
    if importlib.util.find_spec("lm_eval") is None:
        yield
        return
    from tests.few_tasks import index_only

    with pytest.MonkeyPatch.context() as patch:
        index_only(patch=patch.setattr)
        yield


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.close()


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: make_checkpoint(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture(scope="session")
def backbones(checkpoints: dict[str, Path]) -> dict[str, PackedBackbone]:
    return {family: load_backbone(str(folder), device="cpu") for family, folder in checkpoints.items()}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def backbone(backbones: dict[str, PackedBackbone], family: str) -> PackedBackbone:
    return backbones[family]


@pytest.fixture(params=[1, 2])
def num_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)
