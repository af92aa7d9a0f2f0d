"""`lm-eval-mdlm frequencies`: counts by the checkpoint's tokenizer, and what `score=pc` makes of them."""

import json
from collections import Counter

import pytest
import torch

from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.commands.frequencies import main
from lm_eval_mdlm.errors import UsageError
from lm_eval_mdlm.harness import frequencies
from lm_eval_mdlm.options.decoding import DecodingConfig
from lm_eval_mdlm.options.frequencies import read_frequencies
from lm_eval_mdlm.running.generation import generate


TEXTS = ["The answer is 4.\nThe answer is 5.\n\n", "Ωmega: def f(x):\r\n    return x\n"]


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{i}.txt" for i in range(len(TEXTS))]
    for path, text in zip(paths, TEXTS, strict=True):
        path.write_bytes(text.encode())
    return paths


def counted(checkpoint, files, output, *more):
    main(["--pretrained", str(checkpoint), "--output", str(output), "--text", *map(str, files), *more])


def test_every_token_of_all_texts_is_counted(checkpoint, files, tmp_path, capsys):
    counted(checkpoint, files, tmp_path / "counts.json")
    tokenizer = load_backbone(str(checkpoint), device="cpu").tokenizer
    expected = Counter(token for text in TEXTS for token in tokenizer.encode(text, add_special_tokens=False))
    table = read_frequencies(str(tmp_path / "counts.json"))
    assert (table.counts, table.total) == (expected, sum(expected.values()))
    assert f"{table.total} tokens, {len(expected)} of them different" in capsys.readouterr().out
    unseen = next(i for i in range(400) if i not in expected)
    seen = next(iter(expected))
    found = table.of(torch.tensor([[seen, unseen, 10**6]]))[0].tolist()
    assert found == [expected[seen] / table.total, 1 / table.total, 1 / table.total]


def test_texts_are_cut_at_lines_only(checkpoint, files, tmp_path, monkeypatch):
    counted(checkpoint, files, tmp_path / "whole.json")
    monkeypatch.setattr(frequencies, "PIECE", 3)
    assert [piece for path in files for piece in frequencies._pieces(path)] == [
        *("The answer is 4.\n", "The answer is 5.\n", "\n"),
        *("Ωmega: def f(x):\r\n", "    return x\n"),
    ]


def test_a_line_without_end_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(frequencies, "PIECE", 3)
    monkeypatch.setattr(frequencies, "LONGEST_LINE", 4)
    text = "x" * 20 + "\nshort\n" + "y" * 20
    (tmp_path / "long.txt").write_text(text)
    pieces = list(frequencies._pieces(tmp_path / "long.txt"))
    assert "".join(pieces) == text and max(map(len, pieces)) == 7


def test_an_output_that_cannot_be_written_is_told_in_a_line(checkpoint, files, tmp_path):
    (tmp_path / "counts.json.part").mkdir()
    with pytest.raises(UsageError, match="counts.json cannot be written by way of .*counts.json.part .Is a directory"):
        counted(checkpoint, files, tmp_path / "counts.json")


def test_counts_decode_under_their_own_checkpoint_and_no_other(checkpoints, checkpoint, files, tmp_path):
    counted(checkpoint, files, tmp_path / "counts.json")
    options = {"score": "pc", "token_frequencies": str(tmp_path / "counts.json"), "gen_length": 6}
    assert generate(load_backbone(str(checkpoint), device="cpu"), [[3, 4]], **options)[0].nfe == 6
    with pytest.raises(UsageError, match="counted with the checkpoint's own tokenizer, got counts of another"):
        generate(load_backbone(str(checkpoints["dream"]), device="cpu"), [[3, 4]], **options)


def test_the_record_names_the_counts_not_the_place_they_lie(checkpoint, files, tmp_path):
    counted(checkpoint, files, tmp_path / "one.json")
    (tmp_path / "two.json").write_bytes((tmp_path / "one.json").read_bytes())
    counted(checkpoint, files[:1], tmp_path / "less.json")

    def effective(name):
        options = {"score": "pc", "token_frequencies": tmp_path / name}
        return DecodingConfig.from_options(options).effective()

    assert effective("one.json") == effective("two.json") != effective("less.json")
    assert (effective("one.json")["score"], effective("one.json")["pc_lambda"]) == ("pc", 0.25)
    assert json.loads(json.dumps(effective("one.json"))) == effective("one.json")


def test_counts_stay_those_of_the_start_of_a_run(checkpoint, files, tmp_path):
    path = tmp_path / "counts.json"
    counted(checkpoint, files, path)
    config = DecodingConfig.from_options({"score": "pc", "token_frequencies": path})
    policy, effective = config.policy(), config.effective()
    path.unlink()
    counted(checkpoint, files[:1], path)
    assert DecodingConfig.from_options({"score": "pc", "token_frequencies": path}).policy() != policy
    path.unlink()
    assert (config.policy(), config.effective()) == (policy, effective)
    assert DecodingConfig.from_options({"k": 2}, base=config).policy().score == policy.score


def test_counts_that_have_no_effect_are_refused_by_the_name_of_their_file(checkpoint, files, tmp_path):
    path = tmp_path / "counts.json"
    counted(checkpoint, files, path)
    for others in ({"score": "entropy"}, {"sampler": "med"}):
        with pytest.raises(UsageError, match=f"token_frequencies={path} belongs to"):
            DecodingConfig.from_options({**others, "token_frequencies": path})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "got No such file or directory"),
        (b"", "something else or a damaged one"),
        (b"[1, 2]", "something else or a damaged one"),
        (b'{"kind": "other", "vocabulary": "a", "counts": {"1": 2}}', "something else or a damaged one"),
        (b'{"kind": "token frequencies of lm_eval_mdlm", "vocabulary": "a", "counts": {}}', "something else"),
        (b'{"kind": "token frequencies of lm_eval_mdlm", "vocabulary": "a", "counts": {"1": 0}}', "something else"),
        (b'{"kind": "token frequencies of lm_eval_mdlm", "vocabulary": "a", "counts": {"1": 2.5}}', "something else"),
        (b'{"kind": "token frequencies of lm_eval_mdlm", "vocabulary": "a", "counts": {"-1": 2}}', "something else"),
        (b'{"kind": "token frequencies of lm_eval_mdlm", "vocabulary": "a", "counts": [3]}', "something else"),
        (
            b'{"kind": "token frequencies of lm_eval_mdlm", "vocabulary": "a", "counts": {"1": 1%s}}' % (b"0" * 400),
            "else",
        ),
        (b"\xff\xfe", "something else or a damaged one"),
        (b"[" * 100_000, "something else or a damaged one"),
    ],
)
def test_other_files_are_refused_in_one_line(content, message, tmp_path):
    path = tmp_path / "counts.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        DecodingConfig.from_options({"score": "pc", "token_frequencies": str(path)})
    assert f"token_frequencies={path} must be a file that lm-eval-mdlm frequencies wrote" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_command_refuses_what_cannot_be(checkpoint, files, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xfa")
    output = tmp_path / "counts.json"
    for text, message in [
        (["missing.txt"], "--text missing.txt must be a text file in UTF-8, got No such file"),
        ([tmp_path / "bytes.txt"], "must be a text file in UTF-8, got other bytes"),
        ([tmp_path / "empty.txt"], "--text must hold at least one token"),
    ]:
        with pytest.raises(UsageError, match=message):
            counted(checkpoint, text, output)
        assert not output.exists()
    with pytest.raises(UsageError, match="does not exist; make it"):
        counted(checkpoint, files, tmp_path / "no" / "counts.json")
    counted(checkpoint, files, output)
    with pytest.raises(UsageError, match="exists; name a new file"):
        counted(checkpoint, files, output)
