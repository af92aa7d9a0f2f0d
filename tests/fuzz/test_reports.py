"""Results folders of any tool: a page that is whole, or lines that say what could not be read."""

import json
import shutil

import pytest
from hypothesis import strategies as st

from lm_eval_mdlm.report.boards import study_of
from lm_eval_mdlm.report.folders import read_folders
from lm_eval_mdlm.report.page import tables_of
from lm_eval_mdlm.report.provenance import command_of, options_table, runs_table
from lm_eval_mdlm.report.records import records, to_csv
from lm_eval_mdlm.report.tables import latex, markdown
from lm_eval_mdlm.report.verdict import verdict
from lm_eval_mdlm.report.write import ReportOptions, _summaries, write_report
from tests.fuzz.inputs import changed, damaged, files_below, fuzz, sizes, told
from tests.report.by_hand import write_run


pytest.importorskip("matplotlib")


def runs(folder):
    """Two small runs; their results and samples as plain values, and where a changed one lies."""
    paths = [write_run(folder / name, [1, 0, 1], nfe=[4.0, 8.0, n], gen_kwargs={"k": n}) for n, name in enumerate("ab")]
    samples = next(paths[0].parent.glob("samples_*"))
    return (
        paths[0],
        samples,
        json.loads(paths[0].read_text()),
        [json.loads(one) for one in samples.read_text().splitlines()],
    )


def as_bytes(value):
    return json.dumps(value).encode()


def as_lines(values):
    return b"".join(as_bytes(one) + b"\n" for one in values)


def inputs(results, lines):
    """Bytes of a results file and of a samples file."""
    changed_lines = st.lists(changed(*lines), max_size=3).map(
        lambda own: b"".join(as_bytes(one) + b"\n" for one in own)
    )
    sound = b"".join(as_bytes(one) + b"\n" for one in lines)
    return (
        st.just(as_bytes(results)) | changed(results).map(as_bytes) | damaged(as_bytes(results)),
        st.just(sound) | changed_lines | damaged(sound),
    )


@sizes(60, 4_000)
def test_figures_and_tables_of_any_results_end_in_text_or_one_line(number, tmp_path):
    path, samples, *plain = runs(tmp_path / "runs")

    def check(results, lines):
        path.write_bytes(results)
        samples.write_bytes(lines)
        found = told(lambda: read_folders([tmp_path / "runs"]), lines=True)
        if found is None:
            return
        study = study_of(found.runs)
        summaries = _summaries(study, None)
        for summary in summaries:
            verdict(summary)
        for table in (*tables_of(study, summaries), runs_table(study.runs), options_table(study.runs)):
            markdown(table), latex(table)
        to_csv(records(study, summaries))
        for run in study.runs:
            command_of(run)

    fuzz(number, check, *inputs(*plain))


@sizes(2, 60)
def test_a_page_is_written_to_what_was_named_and_nowhere_else(number, tmp_path):
    path, samples, *plain = runs(tmp_path / "runs")
    out = tmp_path / "out"

    def check(results, lines):
        shutil.rmtree(out, ignore_errors=True)
        path.write_bytes(results)
        samples.write_bytes(lines)
        options = ReportOptions(folders=[tmp_path / "runs"], output=out / "page.html", markdown=out / "page.md")
        before = files_below(tmp_path)
        if told(lambda: write_report(options), lines=True) is not None:
            assert files_below(tmp_path) - before == {str(out / "page.html"), str(out / "page.md")}
            page = (out / "page.html").read_text(encoding="utf-8")
            assert page.rstrip().endswith("</html>") and page.count("</script>") == 2

    fuzz(number, check, *inputs(*plain))
