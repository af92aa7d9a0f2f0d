"""Shapes are checked wherever the engine's code names them, in every run of the tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float, Int64, TypeCheckError
from torch import Tensor

from lm_eval_mdlm.decoding.logits import LogitRule
from lm_eval_mdlm.decoding.scores import ranks
from lm_eval_mdlm.decoding.statistics import Statistics, divergence
from tests.array_checks import names_an_array


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Float[Tensor, "B N"], True),
        (Int64[np.ndarray, " T"] | None, True),
        (Sequence[tuple[int, Bool[Tensor, " B"]]], True),
        ("Statistics", True),
        (Tensor, False),
        (dict[str, int] | None, False),
        (None, False),
        (Any, False),
    ],
    ids=str,
)
def test_an_array_is_found_wherever_an_annotation_has_it(annotation, expected):
    assert names_an_array(annotation) == expected


def test_shapes_that_do_not_fit_each_other_are_refused_in_functions_classes_and_results():
    five, six = torch.zeros(5), torch.zeros(6)
    with pytest.raises(TypeCheckError):
        ranks(torch.zeros(2, 3), torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(TypeCheckError):
        divergence(torch.zeros(2, 3), torch.zeros(3, 3))
    with pytest.raises(TypeCheckError):
        Statistics(entropy=five, confidence=five, margin=six, logit_gap=five, argmax=five.long())
    with pytest.raises(TypeCheckError):
        LogitRule((), 0.0).apply(torch.zeros(3))


def test_what_names_no_array_is_left_as_it_is():
    assert not hasattr(LogitRule.guided.fget, "__wrapped__") and hasattr(LogitRule.apply, "__wrapped__")
