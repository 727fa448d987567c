"""Weights of GPT-2 in local safetensors files, under Hugging Face's names.

GPT-2 is a ``GPT`` with learned positions, tied embeddings and the tanh approximation of GELU. It has no start
embedding: at the beginning of a text its input is the token that ends texts, whose embedding becomes ``start`` here.
Published versions end texts with the last token of their vocabulary; others say in ``config.json``, beside the weights,
which token that is.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.arguments import PositiveInt, check_arguments
from genjax.autoregressive.gpt import GPT
from genjax.core import PyTree, Variables

# Names of the parts of a layer, h.0. …, there and here.
_LAYER = {
    "ln_1": "norm_1",
    "attn.c_attn": "qkv",
    "attn.c_proj": "attention",
    "ln_2": "norm_2",
    "mlp.c_fc": "up",
    "mlp.c_proj": "down",
}
NUM_TOKENS = 50_257  # of published versions
# What config.json may say of the architecture.
_UNDERSTOOD = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
}
_BUFFERS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # constant masks


@check_arguments
def load_gpt2(path: str | Path, *, num_heads: PositiveInt | None = None) -> tuple[GPT, Variables]:
    """Load GPT-2's weights; return the model, whose stop token is the one that ends texts, and its variables.

    Settings are read from ``config.json`` in the same folder, where there is one. Without it, the stop token is the
    last one, and heads have 64 channels, as in all published versions of GPT-2.

    Args:
      path: path of a safetensors file.
      num_heads: number of heads, which the weights do not determine; None for that of ``config.json``.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: if it does not hold the weights of a GPT-2, or the two files disagree.
    """
    path = Path(path)
    weights, config = _weights(path), _config(path.with_name("config.json"))
    (num_values, features), length = weights["wte.weight"].shape, weights["wpe.weight"].shape[0]
    num_layers = _num_layers(weights)
    sizes = {"vocab_size": num_values, "n_embd": features, "n_positions": length, "n_layer": num_layers}
    sizes |= {"n_inner": 4 * features} | ({} if num_heads is None else {"n_head": num_heads})
    for name, size in sizes.items():
        if config.get(name) not in (None, size):
            raise ValueError(f"config.json says {name}={config[name]}, but it is {size} in {path}; use its own config")
    if not config and num_values > NUM_TOKENS:
        raise ValueError(
            f"{path} has {num_values} tokens, but GPT-2 has {NUM_TOKENS}, so the last one may not be what ends texts; "
            "put the model's config.json beside it"
        )
    stop_token = config.get("eos_token_id", NUM_TOKENS - 1) if config else num_values - 1
    start_token = config.get("bos_token_id", stop_token)
    if start_token is None or not 0 <= start_token < num_values:
        raise ValueError(
            f"config.json says that texts begin with token {start_token}, but {path} has tokens 0 … {num_values - 1}"
        )
    model = GPT(
        num_values=num_values,
        length=length,
        num_layers=num_layers,
        num_heads=num_heads or config.get("n_head", features // 64),
        features=features,
        stop_token=stop_token,
    )

    def part(name: str) -> PyTree:
        kind = "scale" if "ln_" in name else "kernel"
        return {kind: jnp.asarray(weights[f"{name}.weight"]), "bias": jnp.asarray(weights[f"{name}.bias"])}

    layers = [{name: part(f"h.{i}.{gpt2_name}") for gpt2_name, name in _LAYER.items()} for i in range(num_layers)]
    net = {
        "embedding": jnp.asarray(weights["wte.weight"]),
        "positions": jnp.asarray(weights["wpe.weight"]),
        "start": jnp.asarray(weights["wte.weight"][start_token]),
        "layers": jax.tree.map(lambda *a: jnp.stack(a), *layers),
        "norm": part("ln_f"),
    }
    return model, Variables({"net": net}, {})


@check_arguments
def save_gpt2(path: str | Path, model: GPT, variables: Variables) -> None:
    """Save weights under GPT-2's names; ValueError for a model of another architecture, or another stop token.

    The start embedding is not saved, because GPT-2 uses the embedding of its last token.
    """
    from safetensors.numpy import save_file

    if model.positions != "learned" or not model.tied or not model.use_bias or model.qk_norm:
        raise ValueError(
            f"{model} is not a GPT-2, which has positions='learned', tied=True, use_bias=True and qk_norm=False"
        )
    if model.stop_token not in (None, model.num_values - 1):
        raise ValueError(
            f"stop_token is {model.stop_token}, but a GPT-2 without a config.json ends texts with its last token, "
            f"{model.num_values - 1}"
        )
    net = variables.params["net"]
    weights = {"wte.weight": net["embedding"], "wpe.weight": net["positions"]}
    parts = {"ln_f": net["norm"]}
    for i in range(model.num_layers):
        parts |= {
            f"h.{i}.{gpt2_name}": jax.tree.map(lambda a, i=i: a[i], net["layers"][name])
            for gpt2_name, name in _LAYER.items()
        }
    for name, part in parts.items():
        weights |= {f"{name}.weight": part["scale" if "scale" in part else "kernel"], f"{name}.bias": part["bias"]}
    save_file({name: np.ascontiguousarray(value) for name, value in weights.items()}, path)


def _weights(path: Path) -> dict[str, np.ndarray]:
    """Return the weights by name, after checks that they are those of a GPT-2."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; check the path")
    try:
        weights = {name.removeprefix("transformer."): value for name, value in load_file(path).items()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file ({error}); convert it") from None
    num_layers = _num_layers(weights)
    missing = next((name for name in _names(num_layers) if name not in weights), None)
    if missing is not None or num_layers == 0:
        raise ValueError(f"{path} has no {missing or 'h.0'}, so it is not a GPT-2; it has {sorted(weights)[:3]} …")
    head = weights.pop("lm_head.weight", weights["wte.weight"])
    if not np.array_equal(head, weights["wte.weight"]):
        raise ValueError(f"lm_head.weight of {path} differs from wte.weight, but the head of a GPT-2 is tied to it")
    others = [name for name in sorted(set(weights) - set(_names(num_layers))) if not _BUFFERS.fullmatch(name)]
    if others:
        raise ValueError(f"{path} has {others[0]}, which a GPT-2 has not; remove it, or load a plain GPT-2")
    return weights


def _config(path: Path) -> dict[str, Any]:
    """Return the settings in a config.json, or none without one, after checks that they are understood."""
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); download it again") from None
    for name, allowed in _UNDERSTOOD.items():
        if config.get(name, allowed[0]) not in allowed:
            raise ValueError(f"{path} says {name}={config[name]!r}, but only {allowed[0]!r} is understood")
    return config


def _num_layers(weights: dict[str, np.ndarray]) -> int:
    return 1 + max((int(name.split(".")[1]) for name in weights if name.startswith("h.")), default=-1)


def _names(num_layers: int) -> list[str]:
    parts = ["ln_f", *(f"h.{i}.{name}" for i in range(num_layers) for name in _LAYER)]
    return ["wte.weight", "wpe.weight", *(f"{name}.{kind}" for name in parts for kind in ("weight", "bias"))]
