"""What `doctor` says of others' files acts on no terminal."""

import logging

from lm_eval_mdlm.checkpoints.beside import without_use
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness.doctor.findings import Findings


def test_no_line_of_any_kind_holds_a_control_code():
    lines: list[str] = []
    findings = Findings(lines.append)
    with findings.section("about \x1b[2J"):
        findings.ok("a\x1b[2Jb")
        findings.warn("a\x1b[2Jb")
        logging.getLogger("lm_eval.mdlm").warning("logged \x1b[2J")
        raise UsageError("a\x1b[2Jb")
    assert len(lines) == 5 and all("\\x1b[2J" in line and "\x1b" not in line for line in lines)


def test_names_of_stored_weights_are_logged_without_control_codes(caplog, tmp_path):
    class Known:
        beside = "^head"

    with caplog.at_level(logging.WARNING):
        assert without_use(tmp_path, Known(), ["head\x1b[2J.weight", "other"]) == ["other"]
    assert "head\\x1b[2J" in caplog.text and "\x1b" not in caplog.text
