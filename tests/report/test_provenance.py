import shlex

from lm_eval_mdlm.report.folders import read_folders
from lm_eval_mdlm.report.provenance import command_of, options_table, runs_table
from tests.report.by_hand import write_run


def only(folder):
    return read_folders([folder]).runs[0]


def arguments(command):
    parts = shlex.split(command)
    return dict(zip(parts[1::2], parts[2::2], strict=False))


def test_command_asks_for_the_same_run(tmp_path):
    write_run(
        tmp_path,
        [1, 0],
        gen_kwargs={"sampler": "med", "entropy_threshold": 0.2},
        config={"limit": 20.0, "batch_size": 4, "random_seed": 0, "numpy_seed": 1, "fewshot_seed": 3},
    )
    command = command_of(only(tmp_path))
    known = arguments(command)
    assert command.startswith("lm_eval --model mdlm ")
    assert known["--model_args"] == "pretrained=demo" and known["--tasks"] == "sums"
    assert known["--gen_kwargs"] == "sampler=med,entropy_threshold=0.2"
    assert known["--limit"] == "20" and known["--seed"] == "0,1,1234,3" and known["--num_fewshot"] == "0"


def test_a_share_of_the_documents_stays_a_share(tmp_path):
    write_run(tmp_path, [1, 0], config={"limit": 0.5})
    assert arguments(command_of(only(tmp_path)))["--limit"] == "0.5"


def test_values_that_a_shell_or_a_comma_would_split_are_kept_whole(tmp_path):
    hostile = {"until": ["a b", "c,d"], "note": "$(rm -rf /); 'x'"}
    write_run(tmp_path, [1], gen_kwargs=hostile)
    import json

    assert json.loads(arguments(command_of(only(tmp_path)))["--gen_kwargs"]) == hostile


def test_options_given_stand_by_whether_they_are_on_record_as_acting(tmp_path):
    given = {"sampler": "med", "entropy_threshold": 0.2, "k": 4}
    effective = {"sampler": "med", "entropy_threshold": 0.2, "temperature": 0.0}
    write_run(tmp_path, [1], gen_kwargs=given, effective=effective)
    ((_, task, acting, idle, defaults),) = options_table([only(tmp_path)]).rows
    assert task.text == "sums"
    assert "sampler=" in acting.text and "entropy_threshold=0.2" in acting.text and "k=4" not in acting.text
    assert idle.text == "k=4" and idle.mark == "flag"
    assert defaults.text == "temperature=0.0"


def test_models_without_a_record_have_no_option_called_idle(tmp_path):
    write_run(tmp_path, [1], gen_kwargs={"temperature": 0.5}, model="hf")
    ((_, _, acting, idle, defaults),) = options_table([only(tmp_path)]).rows
    assert "temperature=0.5" in acting.text and idle.text == defaults.text == ""


def test_the_harnesss_default_device_is_not_taken_for_what_a_model_ran_on(tmp_path):
    write_run(tmp_path, [1], config={"device": "cuda:0"}, model="hf")
    table = runs_table([only(tmp_path)])
    assert table.rows[0][list(table.columns).index("device")].text == ""
    assert "lm_eval 0.4.13" in table.rows[0][list(table.columns).index("versions")].text
