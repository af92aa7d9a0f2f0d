"""Published estimators: their sizes by enumeration, their sums against the published formulas in torch."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from lm_eval_mdlm.decoding.likelihood.published import PublishedDream, PublishedLLaDA
from tests.decoding.likelihood.tables import RandomTable, content, estimated, key


@pytest.mark.parametrize(
    ("length", "batch", "times_length"),
    [
        (4, 8, [0.5, 1.5, 0.5, 1.5]),
        (2, 8, [0.75, 1.25]),
        (3, 8, [1.125, 1, 0.875]),
        (5, 8, [1.125, 0.875, 1, 1.125, 0.875]),
        (12, 8, [0.5, 1.5] * 6),
        (8, 8, [1.0] * 8),
        (8, 16, [0.5, 1.5] * 4),
        (7, 1, [1.0] * 7),
    ],
)
def test_sizes_of_llada_are_as_uneven_as_published(length, batch, times_length):
    estimator = PublishedLLaDA(mc_num=batch, mc_batch=batch)
    drawn = np.concatenate([estimator.sizes(start, length) for start in range(1, length + 1)])
    shares = [Fraction(int((drawn == size).sum()), batch) for size in range(1, length + 1)]
    assert shares == [Fraction(share) for share in times_length]


@pytest.mark.parametrize("batch", [1, 2, 3, 6, 7, 8, 24, 32])
def test_sizes_of_llada_are_those_of_torch(batch):
    for length in (1, 2, 5, 10, 14, 33, 62):
        for start in (1, length // 2 + 1, length):
            places = torch.linspace(float(start), start + (batch - 1) * (length / batch), steps=batch)
            expected = (torch.round(places).long() - 1) % length + 1
            assert PublishedLLaDA(batch, batch).sizes(start, length).tolist() == expected.tolist()


def cross_entropies(table: RandomTable, hidden: torch.Tensor) -> torch.Tensor:
    """Minus log-probability of every hidden token of every row, elsewhere 0."""
    found = torch.zeros(hidden.shape, dtype=torch.float64)
    for row, at in enumerate(hidden):
        if at.any():
            found[row] = -torch.from_numpy(table.of_set[tuple(at.nonzero()[:, 0].tolist())]).double() * at
    return found


def test_llada_is_the_published_loop_on_the_same_draws():
    length, batch, num_rounds = 6, 8, 5
    table, torch_generator = RandomTable(length, 1), torch.Generator().manual_seed(3)
    starts, orders, losses = [], [], []
    for _ in range(num_rounds):
        k = torch.randint(1, length + 1, (), generator=torch_generator)
        x = torch.round(torch.linspace(float(k), k + (batch - 1) * (length / batch), steps=batch)).long()
        x = ((x - 1) % length) + 1
        hidden = torch.arange(length).repeat(batch, 1) < x[:, None]
        for row in range(batch):
            order = torch.randperm(length, generator=torch_generator)
            hidden[row] = hidden[row][order]
            orders.append(order.numpy())
        p_mask = (x / length)[:, None].repeat(1, length)
        losses.append(float((cross_entropies(table, hidden) / p_mask).sum() / batch))
        starts.append(int(k))
    estimator = PublishedLLaDA(mc_num=num_rounds * batch, mc_batch=batch)
    maskings = estimator.maskings_of(np.array(starts), np.stack(orders))
    found = estimator.estimate(length, maskings, [table(one) for one in maskings])
    assert found.value == pytest.approx(-np.mean(losses), rel=1e-6)
    assert found.standard_error == pytest.approx(np.std(losses, ddof=1) / np.sqrt(num_rounds), rel=1e-5)


def test_dream_is_the_published_loop_on_the_same_draws():
    length, batch, num_rounds = 6, 8, 4
    table, torch_generator = RandomTable(length, 1), torch.Generator().manual_seed(3)
    starts, uniforms, losses = [], [], []
    for _ in range(num_rounds):
        u0 = torch.rand((), generator=torch_generator)
        t = (u0 + torch.arange(batch).float() / batch) % 1
        p_mask = (1 - 1e-3) * t + 1e-3
        drawn = torch.rand((batch, length), generator=torch_generator)
        losses.append(float((cross_entropies(table, drawn < p_mask[:, None]) / p_mask[:, None]).sum() / batch))
        starts.append(u0.numpy())
        uniforms.append(drawn.numpy())
    estimator = PublishedDream(mc_num=num_rounds * batch + 3, mc_batch=batch)  # what is left over is not run
    maskings = estimator.maskings_of(np.stack(starts), np.concatenate(uniforms))
    assert len(maskings) == estimator.num_passes(length)
    found = estimator.estimate(length, maskings, [table(one) for one in maskings])
    assert found.value == pytest.approx(-np.mean(losses), rel=1e-6)
    assert found.standard_error == pytest.approx(np.std(losses, ddof=1) / np.sqrt(num_rounds), rel=1e-5)
    assert estimator.appends_end and not PublishedLLaDA().appends_end


def test_dream_never_runs_fewer_passes_than_a_round():
    assert len(PublishedDream(mc_num=5, mc_batch=8).maskings(3, key(0))) == 8


@pytest.mark.parametrize("estimator", [PublishedLLaDA(16, 8), PublishedDream(16, 8)])
def test_draws_depend_on_the_key_alone(estimator):
    assert content(estimator.maskings(9, key(1))) == content(estimator.maskings(9, key(1)))
    assert content(estimator.maskings(9, key(1))) != content(estimator.maskings(9, key(2)))
    assert PublishedLLaDA().rounds(9)[:2] == [16, 32] and PublishedDream().rounds(9) == [32, 64, 96, 128]


def test_own_draws_have_the_expectation_of_the_uneven_sizes():
    table, estimator = RandomTable(4, 0), PublishedLLaDA(mc_num=16, mc_batch=8)
    mean_of_size = [
        np.mean([values[list(members)].mean() for members, values in table.of_set.items() if len(members) == size])
        for size in range(1, 5)
    ]
    expected = float(np.dot([0.5, 1.5, 0.5, 1.5], mean_of_size))
    found = [estimated(estimator, table, number).value for number in range(300)]
    assert abs(np.mean(found) - expected) < 3 * np.std(found) / np.sqrt(len(found))


def test_dreams_own_draws_miss_the_bound_by_its_smallest_rate_alone():
    # Exactly: position i is masked with p, others each with p, and p is uniform on [eps, 1].
    length, eps = 3, 1e-3
    table, estimator = RandomTable(length, 0), PublishedDream(mc_num=16, mc_batch=8)
    rates = eps + (1 - eps) * (np.arange(10000) + 0.5) / 10000
    weight = {m: (rates ** (len(m) - 1) * (1 - rates) ** (length - len(m))).mean() for m in table.of_set}
    expected = sum(weight[m] * values[list(m)].sum() for m, values in table.of_set.items())
    found = [estimated(estimator, table, number).value for number in range(300)]
    assert abs(np.mean(found) - expected) < 3 * np.std(found) / np.sqrt(len(found))


def test_a_single_token_is_exact_with_llada():
    found = estimated(PublishedLLaDA(mc_num=1, mc_batch=1), RandomTable(1, 0), 0)
    assert found.value == pytest.approx(float(RandomTable(1, 0).of_set[(0,)][0])) and found.standard_error == 0
