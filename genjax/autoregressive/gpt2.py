"""Weights of GPT-2 in local safetensors files, under Hugging Face's names.

GPT-2 is a ``GPT`` with learned positions, tied embeddings and the tanh approximation of GELU. It has no start
embedding: at the beginning of a text its input is the token that ends texts, the last of its vocabulary, whose
embedding becomes ``start`` here.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

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


def load_gpt2(path: str | Path, *, num_heads: int | None = None) -> tuple[GPT, Variables]:
    """Load GPT-2's weights; return the model, whose stop token is its vocabulary's last one, and its variables.

    Args:
      path: path of a safetensors file.
      num_heads: number of heads, which the weights do not determine; None for heads of 64 channels, as in all published
        versions of GPT-2.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: if it does not hold the weights of a GPT-2.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; check the path")
    try:
        weights = {name.removeprefix("transformer."): value for name, value in load_file(path).items()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file ({error}); convert it") from None
    num_layers = 1 + max((int(name.split(".")[1]) for name in weights if name.startswith("h.")), default=-1)
    missing = next((name for name in _names(num_layers) if name not in weights), None)
    if missing is not None or num_layers == 0:
        raise ValueError(f"{path} has no {missing or 'h.0'}, so it is not a GPT-2; it has {sorted(weights)[:3]} …")
    num_values, features = weights["wte.weight"].shape
    model = GPT(
        num_values=num_values,
        length=len(weights["wpe.weight"]),
        num_layers=num_layers,
        num_heads=features // 64 if num_heads is None else num_heads,
        features=features,
        stop_token=num_values - 1,
    )

    def part(name: str) -> PyTree:
        kind = "scale" if "ln_" in name else "kernel"
        return {kind: jnp.asarray(weights[f"{name}.weight"]), "bias": jnp.asarray(weights[f"{name}.bias"])}

    layers = [{name: part(f"h.{i}.{gpt2_name}") for gpt2_name, name in _LAYER.items()} for i in range(num_layers)]
    net = {
        "embedding": jnp.asarray(weights["wte.weight"]),
        "positions": jnp.asarray(weights["wpe.weight"]),
        "start": jnp.asarray(weights["wte.weight"][-1]),
        "layers": jax.tree.map(lambda *a: jnp.stack(a), *layers),
        "norm": part("ln_f"),
    }
    return model, Variables({"net": net}, {})


def save_gpt2(path: str | Path, model: GPT, variables: Variables) -> None:
    """Save weights under GPT-2's names; ValueError for a model of another architecture.

    The start embedding is not saved, because GPT-2 uses the embedding of its last token.
    """
    from safetensors.numpy import save_file

    if model.positions != "learned" or not model.tied or not model.use_bias or model.qk_norm:
        raise ValueError(
            f"{model} is not a GPT-2, which has positions='learned', tied=True, use_bias=True and qk_norm=False"
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


def _names(num_layers: int) -> list[str]:
    parts = ["ln_f", *(f"h.{i}.{name}" for i in range(num_layers) for name in _LAYER)]
    return ["wte.weight", "wpe.weight", *(f"{name}.{kind}" for name in parts for kind in ("weight", "bias"))]
