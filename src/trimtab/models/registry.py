"""From the name of a model to the folder that holds it: a local folder, a bundled model, or a hub id with a revision.

Being offline is normal. A hub is asked only when a hub id is given: `organisation/name`, with `@revision` or without.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.errors import ModelError
from trimtab.models.bundled import BUNDLED, fetch, weights_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedTokenizerBase

BILINEAR_FILE = "bilinear_head.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
DESCRIBING = (
    "config.json",
    "adapter_config.json",
    *("score_bias.json", BILINEAR_FILE),  # of a reward model
    "chat_template*",
    "tokenizer*",
    *("vocab*", "merges.txt", "*.model", "added_tokens.json", "special_tokens_map.json"),  # of older tokenizers
    "*.py",  # what allow_remote_code runs
)
"""Files beside the weights that change what a model says."""


def locate(name: str, *, say: Callable[[str], None] = lambda _: None) -> Path:
    """The folder of a model, fetched first when it is a bundled one or on a hub.

    Raises `ModelError`, saying what to do, when there is no such model or it cannot be reached.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if name in BUNDLED:
        return fetch(BUNDLED[name], say=say)
    if path.is_absolute() or name.startswith((".", "~")):
        raise ModelError(f"there is no model folder {path}")
    if name.count("/") == 1:
        return _from_hub(name)
    near = difflib.get_close_matches(name, BUNDLED, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    raise ModelError(
        f"no model is called {name!r}. {hint}A model is a folder, a hub id such as organisation/name@revision, "
        f"or one of: {', '.join(BUNDLED)}"
    )


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    wanted = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=wanted))
    except Exception as error:
        raise ModelError(
            f"could not get {name} from the hub: {error}\nCheck the name, the revision and the connection. "
            f"Offline, give the folder of a model you have, or a bundled one: {', '.join(BUNDLED)}"
        ) from error


def fingerprint(name: str) -> str:
    """What identifies a model's content: it changes when the weights, the tokenizer, the template or its code do.

    An adapter's covers the model it stands on, and a bilinear head's. Raises `ModelError` for a file that is cut short.
    """
    if name in BUNDLED and not Path(name).is_dir():
        return f"bundled:{name}:{BUNDLED[name].weights_sha256}"
    folder = locate(name)
    _check_whole(folder)
    digest = hashlib.sha256(weights_digest(folder).encode())
    for pattern in DESCRIBING:
        for file in sorted(one for one in folder.glob(pattern) if one.is_file()):
            digest.update(file.name.encode() + file.read_bytes())
    if is_adapter(folder):
        digest.update(fingerprint(str(base_of(folder))).encode())
    if is_bilinear(folder):
        digest.update(fingerprint(base_of_bilinear(folder)).encode())
    return f"folder:{digest.hexdigest()}"


def _check_whole(folder: Path) -> None:
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file} cannot be read: {error}. It may be cut short: fetch or make it again") from error


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a PEFT adapter, which needs the model it stands on."""
    return (folder / "adapter_config.json").is_file()


def base_of(folder: Path) -> Path:
    """The folder of the model an adapter stands on: where it was, or beside the adapter when both were moved."""
    config_file = folder / "adapter_config.json"
    try:
        recorded = json.loads(config_file.read_text()).get("base_model_name_or_path") or ""
    except ValueError as error:
        raise ModelError(f"{config_file} cannot be read: {error}") from error
    base = locate(place_now(recorded, folder)) if recorded else folder
    if base.resolve() == folder.resolve():
        raise ModelError(f"{folder} is an adapter, and the model it stands on is not there: {recorded or 'not named'}")
    return base


def is_bilinear(folder: Path) -> bool:
    """Whether a folder holds a frozen reward model's bilinear head, which needs the model it stands on."""
    return (folder / BILINEAR_FILE).is_file()


def base_of_bilinear(folder: Path) -> str:
    """The model a bilinear head stands on: where it was, or beside the head when both were moved."""
    return place_now(json.loads((folder / BILINEAR_FILE).read_text())["base"], folder)


def place_now(recorded: str, folder: Path) -> str:
    """A model that `folder` names: where it was, or beside the folder when both were moved."""
    beside = folder.parent / Path(recorded).name
    return str(beside) if not Path(recorded).is_dir() and beside.is_dir() else recorded


def check_folder(folder: Path, *, allow_remote_code: bool = False) -> None:
    """Refuse what must not be loaded: pickles, code that a model brings along, files that are no model.

    Raises `ModelError` that names the file and says what to do.
    """
    adapter = (folder / "adapter_config.json").is_file()
    config_file = folder / ("adapter_config.json" if adapter else "config.json")
    try:
        config = json.loads(config_file.read_text())
    except FileNotFoundError:
        raise ModelError(f"{folder} is no model folder: it has no config.json") from None
    except ValueError as error:
        raise ModelError(f"{config_file} cannot be read: {error}") from error
    if config.get("auto_map") and not allow_remote_code:
        raise ModelError(
            f"{folder} brings Python code of its own (auto_map in config.json), which would run with your rights. "
            "Read that code; if you trust it, set allow_remote_code: true in the recipe"
        )
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
        if pickles:
            raise ModelError(
                f"{folder} holds weights as a pickle ({pickles[0]}), which can run any code when it is opened. "
                "trimtab reads safetensors only: convert it with safetensors' tools where you trust the file"
            )
        raise ModelError(f"{folder} has no weights: no *.safetensors file")


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, with its chat template. Raises `ModelError` when the folder has none."""
    from transformers import AutoTokenizer

    folder = locate(name)
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} has no tokenizer that can be read: {error}") from error
