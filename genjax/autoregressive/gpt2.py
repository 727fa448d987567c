"""Weights of GPT-2, as local safetensors files with the names of Hugging Face's.

GPT-2 is a ``GPT`` with learned positions, tied embeddings and the tanh form of GELU. It has no start of its own: where
a text begins it is given the token that ends texts, the last of its vocabulary, whose embedding is our start.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from genjax.autoregressive.gpt import GPT
from genjax.core import PyTree, Variables

# Their names of the parts of a layer, h.0. …, and ours.
_LAYER = {
    "ln_1": "norm_1",
    "attn.c_attn": "qkv",
    "attn.c_proj": "attention",
    "ln_2": "norm_2",
    "mlp.c_fc": "up",
    "mlp.c_proj": "down",
}


def load_gpt2(path: str | Path, *, num_heads: int | None = None) -> tuple[GPT, Variables]:
    """Read weights.

    Args:
      path: a safetensors file.
      num_heads: which weights do not tell; None for heads of 64 channels, which all published GPT-2 have.

    Returns:
      The model, which ends texts with the last token of its vocabulary, and its variables.

    Raises:
      FileNotFoundError: where there is no such file.
      ValueError: where it holds other weights.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; check the path")
    try:
        weights = {name.removeprefix("transformer."): value for name, value in load_file(path).items()}
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file ({error}); convert it") from None
    num_layers = 1 + max((int(name.split(".")[1]) for name in weights if name.startswith("h.")), default=-1)
    needed = _names(num_layers)
    missing = next((name for name in needed if name not in weights), None)
    if missing is not None or num_layers == 0:
        raise ValueError(f"{path} has no weights {missing or 'h.0'}, so it is no GPT-2; it has {sorted(weights)[:3]} …")
    num_values, features = weights["wte.weight"].shape
    model = GPT(
        num_values=num_values,
        length=len(weights["wpe.weight"]),
        num_layers=num_layers,
        num_heads=features // 64 if num_heads is None else num_heads,
        features=features,
        stop_token=num_values - 1,
    )

    def part(name: str, kind: str) -> PyTree:
        return {kind: jnp.asarray(weights[f"{name}.weight"]), "bias": jnp.asarray(weights[f"{name}.bias"])}

    layers = [
        {ours: part(f"h.{i}.{theirs}", _kind(ours)) for theirs, ours in _LAYER.items()} for i in range(num_layers)
    ]
    net = {
        "embedding": jnp.asarray(weights["wte.weight"]),
        "positions": jnp.asarray(weights["wpe.weight"]),
        "start": jnp.asarray(weights["wte.weight"][-1]),
        "layers": jax.tree.map(lambda *a: jnp.stack(a), *layers),
        "norm": part("ln_f", "scale"),
    }
    return model, Variables({"net": net}, {})


def save_gpt2(path: str | Path, model: GPT, variables: Variables) -> None:
    """Write weights under GPT-2's names.

    What GPT-2 has not is left out: a start that is not the embedding of the last token.

    Raises:
      ValueError: where the model is no GPT-2.
    """
    from safetensors.numpy import save_file

    if model.positions != "learned" or not model.tied or not model.use_bias or model.qk_norm:
        raise ValueError(
            f"{model} is no GPT-2, which has positions='learned', tied=True, use_bias=True and qk_norm=False"
        )
    net = variables.params["net"]
    weights = {"wte.weight": net["embedding"], "wpe.weight": net["positions"]}
    parts = {"ln_f": net["norm"]}
    for i in range(model.num_layers):
        parts |= {
            f"h.{i}.{theirs}": jax.tree.map(lambda a, i=i: a[i], net["layers"][ours]) for theirs, ours in _LAYER.items()
        }
    for name, part in parts.items():
        weights |= {f"{name}.weight": part["scale" if "scale" in part else "kernel"], f"{name}.bias": part["bias"]}
    save_file({name: np.ascontiguousarray(value) for name, value in weights.items()}, path)


def _kind(part: str) -> str:
    return "scale" if part.startswith("norm") else "kernel"


def _names(num_layers: int) -> list[str]:
    parts = ["ln_f", *(f"h.{i}.{name}" for i in range(num_layers) for name in _LAYER)]
    return ["wte.weight", "wpe.weight", *(f"{name}.{kind}" for name in parts for kind in ("weight", "bias"))]
