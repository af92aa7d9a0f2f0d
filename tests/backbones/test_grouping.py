"""Rectangles of canvases: every canvas in one, and what it meets follows from its own length."""

import random

import pytest

from lm_eval_mdlm.backbones.grouping import Grouping, Shape


WAYS = [Grouping(), Grouping(alone=True), Grouping(multiple=16), Grouping(multiple=16, most_tokens=40)]
LONGEST = 50


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_canvas_is_in_one_group_of_a_shape_that_its_length_alone_decides(way):
    draw = random.Random(0)
    for _ in range(50):
        lengths = [draw.randint(1, LONGEST) for _ in range(draw.randint(1, 20))]
        groups = way.groups(lengths, LONGEST)
        assert sorted(place for group in groups for place in group.members) == list(range(len(lengths)))
        for shape, members in groups:
            assert {way.shape_of(lengths[place], LONGEST) for place in members} == {shape}
            assert len(members) == 1 or not way.alone
        shapes = [group.shape for group in groups]
        assert way.alone or way.most_tokens or len(set(shapes)) == len(shapes)
        assert all(len(g.members) == 1 or len(g.members) * g.shape.length <= (way.most_tokens or 2000) for g in groups)


def test_padding_stands_behind_every_canvas_of_a_padded_rectangle_or_behind_none():
    way = Grouping(multiple=16)
    for length in range(1, LONGEST + 1):
        shape = way.shape_of(length, LONGEST)
        assert shape.length > length if shape.padded else shape.length == length == LONGEST
    assert [way.shape_of(length, LONGEST).length for length in (1, 15, 16, 31, 32, 48, 49, 50)] == [
        *(16, 16, 32, 32, 48, 50, 50, 50)
    ]
    assert Grouping().shape_of(17, LONGEST) == Shape(17, padded=False)
