"""The chain rule's passes, one by one."""

import pytest

from lm_eval_mdlm.decoding.likelihood.chain_rule import ChainRule
from tests.decoding.likelihood.tables import RandomTable, content, estimated, key


def test_passes_hide_what_is_not_yet_scored():
    assert content(ChainRule().maskings(3, key(0))) == [([0, 1, 2], [0], 1), ([1, 2], [1], 1), ([2], [2], 1)]
    assert content(ChainRule(reverse=True).maskings(3, key(0))) == [
        ([0, 1, 2], [2], 1),
        ([0, 1], [1], 1),
        ([0], [0], 1),
    ]


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_sum_is_the_chain_in_that_order(length, reverse):
    table, estimator = RandomTable(length, 3), ChainRule(reverse=reverse)
    order = sorted(range(length), reverse=reverse)
    found = estimated(estimator, table, 0)
    assert found.value == pytest.approx(table.chain(order), abs=1e-9)
    assert found.standard_error == 0
    assert estimator.rounds(length) == [length] and not estimator.appends_end
