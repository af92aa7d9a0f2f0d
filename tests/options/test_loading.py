"""Options of loading: their checks, and what reaches the network."""

import pytest

from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.options.loading import LoadingConfig


def test_family_and_grid_reach_the_network_from_text_and_are_in_the_record():
    loading = LoadingConfig.from_options({"pretrained": "some/model", "family": "sdar", "grid_block": "8"})
    passed = loading.for_backbone("cpu")
    assert (passed["family"], passed["grid_block"]) == ("sdar", 8)
    assert (loading.effective()["family"], loading.effective()["grid_block"]) == ("sdar", 8)
    assert LoadingConfig(pretrained="some/model").for_backbone("cpu")["grid_block"] is None


@pytest.mark.parametrize("value", [0, -4, 2.5, "many", True])
def test_a_grid_that_is_no_number_of_positions_is_refused_by_name(value):
    with pytest.raises(UsageError, match="grid_block"):
        LoadingConfig.from_options({"pretrained": "some/model", "grid_block": value})
