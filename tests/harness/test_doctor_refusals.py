"""`doctor` on every broken checkpoint of the load tests: the very line that ends a run, and no traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.doctor.examination import examine
from lm_eval_mdlm.harness.doctor.preparing import DoctorOptions
from lm_eval_mdlm.harness.model import MDLM
from tests.checkpoints import test_refusals as cases
from tests.checkpoints.test_refusals import *  # noqa: F403  every case, asked of the doctor here
from tests.checkpoints.test_refusals import refusal as refusal_of_loading


ROOT = Path(__file__).parents[2]


def refusal_of_doctor(folder: Path | str, **options: object) -> str:
    given = {"pretrained": str(folder), "device": "cpu", **options}
    with pytest.raises(UsageError) as caught:
        MDLM.create_from_arg_obj(dict(given))
    lines: list[str] = []
    assert not examine(DoctorOptions(model_args=[json.dumps(given)]), lines.append)
    assert [line for line in lines if line.startswith("  fail")] == [f"  fail  {caught.value}"]
    assert "device" not in lines  # nothing is said of a network that is not there
    return refusal_of_loading(folder, **options)


@pytest.fixture(autouse=True)
def asked_of_the_doctor(monkeypatch):
    monkeypatch.setattr(cases, "refusal", refusal_of_doctor)


def test_the_command_ends_with_code_1_and_without_a_traceback(tmp_path):
    command = [sys.executable, "-m", "lm_eval_mdlm", "doctor", "--model_args", f"pretrained={tmp_path},device=cpu"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and "Traceback" not in done.stderr + done.stdout
    assert f"  fail  {tmp_path / 'config.json'} does not exist" in done.stdout
