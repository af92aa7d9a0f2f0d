"""Steps go into a folder once per row, whatever ended the run, and nobody can tell from the results."""

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lm_eval_mdlm.engine.loop import answer
from lm_eval_mdlm.engine.readout import Readout
from lm_eval_mdlm.engine.schedule import Budget
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.recordings.members import SUFFIX, Header
from lm_eval_mdlm.recordings.reading import read_steps
from lm_eval_mdlm.running.generation import RowRequest, generate
from lm_eval_mdlm.running.journal_lines import value_in
from lm_eval_mdlm.running.known import identity_of
from lm_eval_mdlm.running.question import Origin
from lm_eval_mdlm.running.recording import InFolder
from tests.toy import RandomBackbone


ROOT = Path(__file__).parents[2]
PROMPTS = [[i, 3] for i in range(6)]
OPTIONS = {"gen_length": 8, "k": 2, "batch_size": 2}


def network() -> RandomBackbone:
    return RandomBackbone(vocab_size=7)


def plain(folder: Path) -> list[dict]:
    return [row.to_plain() for row in read_steps(folder)]


def journalled(folder: Path) -> dict[str, object]:
    lines = [line for path in folder.iterdir() for line in path.read_bytes().splitlines(keepends=True)[1:]]
    return {json.loads(line)["key"]: value_in(line) for line in lines}


def test_neither_results_nor_the_journal_tell_of_a_recording(tmp_path):
    without = generate(network(), PROMPTS, journal=str(tmp_path / "one"), **OPTIONS)
    recorded = generate(
        network(), PROMPTS, journal=str(tmp_path / "two"), record_steps=str(tmp_path / "steps"), **OPTIONS
    )
    assert recorded == without
    assert journalled(tmp_path / "one") == journalled(tmp_path / "two")
    assert {row["key"] for row in plain(tmp_path / "steps")} == set(journalled(tmp_path / "one"))


def test_a_resumed_run_decodes_what_is_missing_in_either_place(tmp_path):
    journal, steps = tmp_path / "journal", tmp_path / "steps"
    ways = {"journal": str(journal), "record_steps": str(steps)}
    first = generate(network(), PROMPTS, **ways, **OPTIONS)
    wanted = plain(steps)
    assert len(wanted) == len(PROMPTS)

    def again() -> int:
        """Passes that a second run takes; everything is there once after it."""
        backbone = network()
        assert generate(backbone, PROMPTS, **ways, **OPTIONS) == first
        assert plain(steps) == wanted and len(journalled(journal)) == len(PROMPTS)
        return sum(map(len, backbone.passes))

    assert again() == 0
    for path in list(steps.iterdir()):
        path.unlink()
    assert again() == 4 * len(PROMPTS)  # journalled, and not recorded
    for path in list(journal.iterdir()):
        path.unlink()
    assert again() == 4 * len(PROMPTS)  # recorded, and not journalled
    (path,) = steps.iterdir()
    path.write_bytes(path.read_bytes()[:-5])  # a row that was cut off by a kill
    assert again() == 4
    assert again() == 0


def test_a_run_that_began_without_a_recording_gets_a_whole_one(tmp_path):
    generate(network(), PROMPTS, journal=str(tmp_path / "j"), **OPTIONS)
    generate(network(), PROMPTS, journal=str(tmp_path / "j"), record_steps=str(tmp_path / "s"), **OPTIONS)
    assert len(plain(tmp_path / "s")) == len(PROMPTS)


def test_another_result_than_the_journal_s_is_an_error(tmp_path):
    class Changed(RandomBackbone):
        def logits_of(self, canvas):
            return super().logits_of(canvas).flip(0)

    generate(network(), PROMPTS, journal=str(tmp_path / "j"), **OPTIONS)
    with pytest.raises(UsageError, match="decoded again for its steps, with another result"):
        generate(
            Changed(vocab_size=7), PROMPTS, journal=str(tmp_path / "j"), record_steps=str(tmp_path / "s"), **OPTIONS
        )


@pytest.mark.parametrize("other", [{"k": 1}, {"seed": 4}, {"prompts": PROMPTS[:5]}, {"vocab_size": 8}], ids=str)
def test_folder_of_another_run_is_refused_in_one_line_before_any_pass(tmp_path, other):
    generate(network(), PROMPTS, record_steps=str(tmp_path), **OPTIONS)
    before = plain(tmp_path)
    backbone = RandomBackbone(vocab_size=other.pop("vocab_size", 7))
    with pytest.raises(
        UsageError, match=r"record_steps=.* holds the steps of another run.* name another folder"
    ) as told:
        generate(backbone, other.pop("prompts", PROMPTS), record_steps=str(tmp_path), **{**OPTIONS, **other})
    assert "\n" not in str(told.value) and not backbone.passes and plain(tmp_path) == before


def test_order_and_batch_size_make_no_other_run(tmp_path):
    for prompts, size in ((PROMPTS, 1), (PROMPTS[::-1], 5)):
        generate(network(), prompts, record_steps=str(tmp_path), **{**OPTIONS, "batch_size": size})
    assert len(plain(tmp_path)) == len(PROMPTS)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UsageError, match="record_steps=.*file cannot be written: File exists; make room, or name another"
    ):
        generate(network(), PROMPTS, record_steps=str(tmp_path / "file"), **OPTIONS)


def test_documents_that_ask_the_same_have_a_row_each_and_processes_write_side_by_side(tmp_path):
    backbone = network()
    config = DecodingConfig.from_options({"gen_length": 4})
    rows = [RowRequest(prompt_ids=[1, 2], config=config, origin=Origin("pens", i)) for i in (0, 1, 1)]
    identity = identity_of(backbone)
    header = Header(run="r" * 32, network=identity, package="x")
    recorders = [InFolder(tmp_path, rank, header, identity) for rank in (0, 1)]
    num_decoded = 0
    for recorder, own in zip(recorders, (rows[:2], rows[1:]), strict=True):
        for row in filter(recorder.wants, own):
            ((_, (_, decoded)),) = answer(Readout(backbone), [(0, row.recorded(backbone))], Budget())
            recorder.add(row, decoded)
            num_decoded += 1
        recorder.close()
    assert num_decoded == 3 and len(list(tmp_path.iterdir())) == 2
    found = read_steps(tmp_path)
    assert [(row.task, row.doc_id) for row in found] == [("pens", 0), ("pens", 1)]
    assert found[0].key == found[1].key
    assert not any(InFolder(tmp_path, 2, header, identity).wants(row) for row in rows)


def test_full_disk_keeps_the_run_going_and_rows_come_once_there_is_room(tmp_path, monkeypatch, caplog):
    real, refusing = os.write, {"left": 2}

    def write(fd, data):
        target = os.readlink(f"/proc/self/fd/{fd}")
        if target.endswith(SUFFIX) and refusing["left"]:
            refusing["left"] -= 1
            raise OSError(28, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    caplog.set_level(logging.WARNING)
    generate(network(), PROMPTS, record_steps=str(tmp_path), **OPTIONS)
    assert len(plain(tmp_path)) == len(PROMPTS)
    assert [record.getMessage() for record in caplog.records if "recording" in record.getMessage()] == [
        f"the recording in {tmp_path} cannot be written: No space left on device. Its records are kept in memory until "
        f"it can."
    ]


CODE = """
import sys, time
sys.path.insert(0, {root!r})
from tests.running.test_recording import PROMPTS, OPTIONS
from tests.toy import RandomBackbone
from lm_eval_mdlm.running.generation import generate

class Slow(RandomBackbone):
    def states(self, *given):
        time.sleep(0.02)
        return super().states(*given)

prompts = [[i, j] for i in range(6) for j in range(6)]
generate(Slow(vocab_size=7), prompts, journal=sys.argv[1], record_steps=sys.argv[2], **OPTIONS)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_after_kills_every_row_is_there_once_and_goes_with_the_journal(tmp_path, number):
    journal, steps = tmp_path / "journal", tmp_path / "steps"
    command = [sys.executable, "-c", textwrap.dedent(CODE.format(root=str(ROOT))), str(journal), str(steps)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    for rows in (3, 20):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        while process.poll() is None and (not journal.is_dir() or len(_sizes(journal)) < rows):
            pass
        process.send_signal(number)
        process.communicate(timeout=60)
        if len(_sizes(journal)):
            assert set(journalled_so_far(journal)) <= {row["key"] for row in plain(steps)}
    subprocess.run(command, env=environment, check=True, timeout=120)
    prompts = [[i, j] for i in range(6) for j in range(6)]
    undisturbed = subprocess.run(
        [*command[:3], str(tmp_path / "j"), str(tmp_path / "s")], env=environment, check=True, timeout=120
    )
    assert undisturbed.returncode == 0
    assert plain(steps) == plain(tmp_path / "s") and len(plain(steps)) == len(prompts)
    assert journalled_so_far(journal) == journalled_so_far(tmp_path / "j")


def _sizes(journal: Path) -> list[bytes]:
    return [line for path in journal.iterdir() for line in path.read_bytes().splitlines()[1:]]


def journalled_so_far(folder: Path) -> dict[str, object]:
    whole = [
        line
        for path in folder.iterdir()
        for line in path.read_bytes().splitlines(keepends=True)[1:]
        if line.endswith(b"\n")
    ]
    return {json.loads(line)["key"]: value_in(line) for line in whole}
