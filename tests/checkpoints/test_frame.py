"""What stands around a text, found out from tokenizers of several kinds, and taken off them."""

import json

import pytest
from transformers import AutoTokenizer, BertTokenizer, EsmTokenizer, RobertaTokenizer

from lm_eval_mdlm import UsageError
from lm_eval_mdlm.backbones.encoder import Frame
from lm_eval_mdlm.checkpoints.frame import frame_of, take_off_frame
from tests.encoders import CLS, SEP, make_tokenizer


WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "bak", "##er", "1")
LETTERS = ("<cls>", "<pad>", "<eos>", "<unk>", "A", "G", "1", "<mask>")


def bert(folder):
    return BertTokenizer(vocab={word: place for place, word in enumerate(WORDS)})


def roberta(folder):
    pieces = ("<s>", "<pad>", "</s>", "<unk>", "a", "1", "Ġ", "Ġa", "<mask>")
    return RobertaTokenizer(vocab={piece: place for place, piece in enumerate(pieces)}, merges=[("Ġ", "a")])


def esm(folder):
    (folder / "vocab.txt").write_text("\n".join(LETTERS))
    return EsmTokenizer(str(folder / "vocab.txt"))


def bare(folder):
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    return tokenizer


KINDS = {
    "bert": (bert, Frame((2,), (3,))),
    "roberta": (roberta, Frame((0,), (2,))),
    "esm, in Python": (esm, Frame((0,), (2,))),
    "byte level": (lambda folder: make_tokenizer(), Frame((CLS,), (SEP,))),
    "none": (bare, Frame((), ())),
}
TEXTS = ("a", "1 a", "a baker", "", "AG1")


@pytest.mark.parametrize(("make", "frame"), KINDS.values(), ids=KINDS)
def test_the_frame_is_found_and_taken_off_and_stays_in_the_files(tmp_path, make, frame):
    make(tmp_path).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert frame_of(tokenizer, "here") == frame
    own = [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]
    assert [tokenizer.encode(text) for text in TEXTS] == [[*frame.prefix, *ids, *frame.suffix] for ids in own]
    take_off_frame(tokenizer)
    assert [tokenizer.encode(text) for text in TEXTS] == own
    assert [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS] == own
    assert tokenizer(list(TEXTS))["input_ids"] == own
    assert frame_of(AutoTokenizer.from_pretrained(tmp_path), "here") == frame


def test_a_tokenizer_that_changes_the_text_s_own_tokens_is_refused(tmp_path):
    make_tokenizer().save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    settings = json.loads(file.read_text())
    settings["post_processor"]["single"] = [settings["post_processor"]["single"][0]]
    file.write_text(json.dumps(settings))
    with pytest.raises(UsageError, match=r"here: the tokenizer must put special tokens around a text"):
        frame_of(AutoTokenizer.from_pretrained(tmp_path), "here")
