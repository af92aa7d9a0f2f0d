"""Adapters in an evaluation: the record names them, and stored results of another adapter are refused."""

import pytest

from lm_eval_mdlm.commands.merge import main as merge
from lm_eval_mdlm.errors import UsageError
from tests.checkpoints.test_adapters import make_adapter
from tests.harness.running import evaluate, outcomes
from tests.tiny import make_checkpoint


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # of peft
def test_adapter_scores_as_its_merged_checkpoint_and_shares_no_stored_results(tasks, tmp_path):
    base = make_checkpoint(tmp_path / "base")
    adapters = [str(make_adapter(tmp_path / name, base, seed=seed)) for name, seed in (("a", 0), ("b", 1))]
    merge(["--pretrained", str(base), "--adapter", adapters[0], "--out", str(tmp_path / "m"), "--dtype", "float32"])
    cache = {"run_use_cache": str(tmp_path / "cache"), "journal": str(tmp_path / "journal")}
    ours = evaluate(str(base), tasks, ["pens"], peft=adapters[0], **cache)
    assert outcomes(ours, "pens") == outcomes(evaluate(str(tmp_path / "m"), tasks, ["pens"]), "pens")
    assert ours["config"]["mdlm"]["backbone"]["peft"] == adapters[0] and ours["config"]["peft_sha"] == ""
    with pytest.raises(UsageError, match="holds results of peft=|holds results of adapter="):
        evaluate(str(base), tasks, ["pens"], peft=adapters[1], **cache)
    with pytest.raises(UsageError, match="of a run with peft, peft_commit_hash, adapter, and this run has none"):
        evaluate(str(base), tasks, ["pens"], **cache)
    from_journal = [
        evaluate(str(base), tasks, ["pens"], journal=cache["journal"], **more)["config"]["mdlm"]["totals_of_rank_0"]
        for more in ({"peft": adapters[0]}, {"peft": adapters[1]}, {})
    ]
    assert [totals["from_journal"] for totals in from_journal] == [12, 0, 0]
