import numpy as np
import pytest
import torch
from torch import nn

from lm_eval_mdlm.canvas.template import Template
from lm_eval_mdlm.training.batches import MIN_MASK_RATIO, NoisyRows, collate
from lm_eval_mdlm.training.layout import TokenizedExample, layout_of
from lm_eval_mdlm.training.objective import MaskedDenoising


END, MASK = 1, 3
TEMPLATE = Template.parse([{"reasoning": 6}, {"text": "xy"}, {"answer": 3}])


def example(prompt=(10, 11), solution=(20, 21, 22), answer=(30,)):
    pieces = {"prompt": prompt, "solution": solution, "answer": answer}
    return TokenizedExample(**{k: None if v is None else np.array(v, dtype=np.int64) for k, v in pieces.items()})


def layout(free_share=0.0, end_padding=2):
    return layout_of(TEMPLATE, lambda text: [50, 51], end_token_id=END, free_share=free_share, end_padding=end_padding)


def rows(num_rows=64, rows_per_step=16, free_share=0.0, examples=None, seed=0):
    return NoisyRows(
        examples or [example()],
        layout(free_share),
        num_rows=num_rows,
        rows_per_step=rows_per_step,
        mask_token_id=MASK,
        seed=seed,
    )


def test_template_rows_look_as_at_decoding_time_with_any_reasoning_length():
    rng = np.random.default_rng(0)
    drawn = [layout().draw(example(), rng) for _ in range(100)]
    expected = {
        (10, 11, 20, 21, 22, *[END] * fill, 50, 51, 30, END, END): fill for fill in range(4)
    }  # 3 to 6 tokens of reasoning
    seen = {tuple(canvas.token_ids.tolist()) for canvas in drawn}
    assert seen == expected.keys()
    for canvas in drawn:
        fixed = np.isin(canvas.token_ids, [10, 11, 50, 51])
        assert (canvas.maskable == ~fixed).all()


def test_free_rows_hold_the_delimiter_as_something_to_learn():
    canvas = layout(free_share=1.0).draw(example(), np.random.default_rng(0))
    assert canvas.token_ids.tolist() in ([10, 11, 20, 21, 22, 50, 51, 30, *[END] * n] for n in (1, 2))
    assert canvas.maskable.tolist() == [False] * 2 + [True] * (len(canvas.token_ids) - 2)


def test_response_without_an_answer_gets_no_delimiter():
    canvas = layout().draw(example(answer=None), np.random.default_rng(0))
    assert canvas.token_ids.tolist() in ([10, 11, 20, 21, 22, *[END] * n] for n in (1, 2))


def test_mask_ratios_of_a_step_are_spread_evenly_over_the_range():
    ratios = np.array([rows().mask_ratio(place) for place in range(16, 32)])
    strata = np.sort(((ratios - MIN_MASK_RATIO) / (1 - MIN_MASK_RATIO) * 16).astype(int))
    assert len(set(strata)) >= 15  # one each, up to one that wraps around
    assert MIN_MASK_RATIO <= ratios.min() < ratios.max() <= 1


def test_every_example_comes_once_before_any_comes_again():
    examples = [example(prompt=(100 + i,)) for i in range(10)]
    dataset = rows(num_rows=30, examples=examples)
    prompts = [int(dataset[place].noisy_ids[0]) for place in range(30)]
    passes = [prompts[start : start + 10] for start in (0, 10, 20)]
    assert all(sorted(p) == list(range(100, 110)) for p in passes)
    assert passes[0] != passes[1]


def test_row_depends_on_its_place_and_seed_alone():
    one, other = rows(), rows(num_rows=1000)
    _ = [other[place] for place in range(7)]
    assert one[20].noisy_ids.tolist() == other[20].noisy_ids.tolist()
    assert any(rows(seed=1)[p].noisy_ids.tolist() != one[p].noisy_ids.tolist() for p in range(20))


def test_prompt_and_fixed_text_are_never_masked_and_all_else_is_sometimes():
    dataset = rows(num_rows=400)
    masked_ids = set()
    for place in range(400):
        row = dataset[place]
        masked_ids |= set(row.targets.tolist())
        assert (row.noisy_ids[row.masked] == MASK).all()
        assert (row.noisy_ids == MASK).sum() == len(row.masked)
    assert masked_ids == {20, 21, 22, 30, END}


class Uniform(nn.Module):
    """A network that gives all tokens the same probability."""

    def __init__(self, vocabulary):
        super().__init__()
        self.vocabulary = vocabulary

    def get_input_embeddings(self):
        return lambda token_ids: torch.zeros(*token_ids.shape, 4)

    def get_decoder(self):
        return lambda inputs_embeds, attention_mask, use_cache: (inputs_embeds,)

    def get_output_embeddings(self):
        return nn.Linear(4, self.vocabulary, bias=False)


def test_expected_loss_of_a_uniform_network_is_the_log_of_the_vocabulary():
    # E over masks of (masked / (ratio * maskable)) = 1, so the weighted loss is log V on average: a defining property.
    dataset = rows(num_rows=4000, rows_per_step=4000)
    batch = collate([dataset[place] for place in range(4000)], pad_to=None, pad_token_id=END)
    loss = MaskedDenoising(Uniform(60))(**batch)["loss"]
    assert loss.item() == pytest.approx(np.log(60), rel=0.05)


@pytest.mark.parametrize("shift", [False, True])
def test_padding_changes_no_target_and_shift_reads_the_state_before(shift):
    dataset = rows(num_rows=32, free_share=0.5)
    drawn = [dataset[place] for place in range(32)]
    seen = {}

    class Echo(nn.Module):
        """States are token positions, the head passes them on."""

        def get_input_embeddings(self):
            return lambda token_ids: torch.arange(token_ids.shape[1]).expand(token_ids.shape)[..., None].float()

        def get_decoder(self):
            return lambda inputs_embeds, attention_mask, use_cache: (inputs_embeds,)

        def get_output_embeddings(self):
            def head(states):
                seen["positions"] = states[:, 0].tolist()
                return torch.zeros(len(states), 60)

            return head

    for pad_to in (None, 40):
        batch = collate(drawn, pad_to=pad_to, pad_token_id=END)
        MaskedDenoising(Echo(), shift=shift)(**batch)
        assert seen["positions"] == [position - shift for row in drawn for position in row.masked.tolist()]
        assert batch["present"].sum() == sum(len(row.noisy_ids) for row in drawn)
