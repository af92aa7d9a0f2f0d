from lm_eval_mdlm import load_backbone
from lm_eval_mdlm.checkpoints.fingerprint import fingerprint
from tests.tiny import make_checkpoint


def test_copies_are_equal_and_other_weights_configs_or_layouts_are_not(tmp_path):
    first = make_checkpoint(tmp_path / "first")
    copy = make_checkpoint(tmp_path / "copy")
    others = [
        make_checkpoint(tmp_path / "seed", seed=1),
        make_checkpoint(tmp_path / "length", max_length=1024),
        make_checkpoint(tmp_path / "sharded", sharded=True),
    ]
    assert fingerprint(first) == fingerprint(copy)
    assert len({fingerprint(first), *map(fingerprint, others)}) == 4


def test_last_bytes_count(tmp_path):
    folder = make_checkpoint(tmp_path / "one")
    before = fingerprint(folder)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert fingerprint(folder) != before


def test_replaced_weights_show_in_the_description(tmp_path):
    before = load_backbone(str(make_checkpoint(tmp_path, seed=0)), device="cpu").description
    after = load_backbone(str(make_checkpoint(tmp_path, seed=1)), device="cpu").description
    assert before["pretrained"] == after["pretrained"] and before["fingerprint"] != after["fingerprint"]
