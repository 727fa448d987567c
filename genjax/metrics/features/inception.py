"""Inception-v3 as used by FID, for inference.

The network of Szegedy, Vanhoucke, Ioffe, Shlens & Wojna 2016 (arXiv:1512.00567) as TensorFlow released it on
2015-12-05, with 1,008 classes: average pooling excludes the padding, and the last block uses max pooling. Its
2,048 features after global pooling define the FID (Heusel et al. 2017, arXiv:1706.08500), and its logits without bias
the Inception Score, as in torch-fidelity.

Images are preprocessed as in TensorFlow 1: bytes are resized to 299 × 299 by bilinear interpolation that samples pixel
i at i · H/299 instead of at pixel centres, then scaled to (x − 128) / 128. Antialiasing, other resizing, or floats not
rounded to bytes change the results. torch-fidelity does the same; pytorch-fid has the same network and weights, but
aligns pixel centres and scales to 2x/255 − 1, so that its distances differ slightly.

The weights, a file of 92 MB, are neither bundled nor downloaded: ``pt_inception-2015-12-05-6726825d.pth``, published
with the releases of pytorch-fid (``fid_weights``) and torch-fidelity, is converted once by

    python -m genjax.metrics.features.convert_inception pt_inception-2015-12-05-6726825d.pth inception.safetensors
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.arguments import check_arguments
from genjax.core import Array, PyTree
from genjax.metrics.features.network import FeatureNetwork, Outputs, arrays_hash

SIZE = 299
NUM_CLASSES = 1008
EPSILON = 1e-3  # of the batch normalization
FID_WEIGHTS_SHA256 = "6726825d"  # first digits of the SHA-256 of the published file, as in its name
CONVERT = "python -m genjax.metrics.features.convert_inception IN.pth OUT.safetensors"


class Conv(NamedTuple):
    """A convolution with normalization and ReLU, named as in the weight file; a stride of 2 has no padding."""

    name: str
    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


Branch = tuple[Conv | tuple[Conv, Conv], ...]  # a pair is two parallel convolutions of one input


class Mixed(NamedTuple):
    """A block of branches and a pooling, whose outputs are concatenated; named as in the weight file."""

    name: str
    branches: tuple[Branch, ...]
    pool: str  # "average" or "max"
    pooled: int | None  # channels of the convolution after the pooling; None for pooling with stride 2 alone


def _block_35(name: str, pooled: int) -> Mixed:
    double = (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, (3, 3)), Conv("branch3x3dbl_3", 96, (3, 3)))
    five = (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5)))
    return Mixed(name, ((Conv("branch1x1", 64),), five, double), "average", pooled)


def _block_17(name: str, inner: int) -> Mixed:
    seven = (Conv("branch7x7_1", inner), Conv("branch7x7_2", inner, (1, 7)), Conv("branch7x7_3", 192, (7, 1)))
    double = (
        Conv("branch7x7dbl_1", inner),
        Conv("branch7x7dbl_2", inner, (7, 1)),
        Conv("branch7x7dbl_3", inner, (1, 7)),
        Conv("branch7x7dbl_4", inner, (7, 1)),
        Conv("branch7x7dbl_5", 192, (1, 7)),
    )
    return Mixed(name, ((Conv("branch1x1", 192),), seven, double), "average", 192)


def _block_8(name: str, pool: str) -> Mixed:
    three = (
        Conv("branch3x3_1", 384),
        (Conv("branch3x3_2a", 384, (1, 3)), Conv("branch3x3_2b", 384, (3, 1))),
    )
    double = (
        Conv("branch3x3dbl_1", 448),
        Conv("branch3x3dbl_2", 384, (3, 3)),
        (Conv("branch3x3dbl_3a", 384, (1, 3)), Conv("branch3x3dbl_3b", 384, (3, 1))),
    )
    return Mixed(name, ((Conv("branch1x1", 320),), three, double), pool, 192)


def _to_17(name: str) -> Mixed:
    three = (Conv("branch3x3", 384, (3, 3), 2),)
    double = (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, (3, 3)), Conv("branch3x3dbl_3", 96, (3, 3), 2))
    return Mixed(name, (three, double), "max", None)


def _to_8(name: str) -> Mixed:
    three = (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, (3, 3), 2))
    seven = (
        Conv("branch7x7x3_1", 192),
        Conv("branch7x7x3_2", 192, (1, 7)),
        Conv("branch7x7x3_3", 192, (7, 1)),
        Conv("branch7x7x3_4", 192, (3, 3), 2),
    )
    return Mixed(name, (three, seven), "max", None)


BLOCKS = (
    _block_35("Mixed_5b", 32),
    _block_35("Mixed_5c", 64),
    _block_35("Mixed_5d", 64),
    _to_17("Mixed_6a"),
    _block_17("Mixed_6b", 128),
    _block_17("Mixed_6c", 160),
    _block_17("Mixed_6d", 160),
    _block_17("Mixed_6e", 192),
    _to_8("Mixed_7a"),
    _block_8("Mixed_7b", "average"),
    _block_8("Mixed_7c", "max"),
)


class _Block(nn.Module):
    """Apply a ``Mixed`` block; its convolutions have the names of the weight file."""

    mixed: Mixed

    @nn.compact
    def __call__(self, x: Array) -> Array:
        outputs = []
        for branch in self.mixed.branches:
            y = x
            for step in branch:
                y = _conv(step, y) if isinstance(step, Conv) else jnp.concatenate([_conv(c, y) for c in step], axis=-1)
            outputs.append(y)
        return jnp.concatenate([*outputs, self._pooled(x)], axis=-1)

    def _pooled(self, x: Array) -> Array:
        if self.mixed.pooled is None:
            return nn.max_pool(x, (3, 3), strides=(2, 2))
        if self.mixed.pool == "max":
            pooled = nn.max_pool(x, (3, 3), padding="SAME")
        else:
            pooled = nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)
        return _conv(Conv("branch_pool", self.mixed.pooled), pooled)


def _conv(conv: Conv, x: Array, padding: str | None = None) -> Array:
    """Convolve and rectify; kernel and bias include the normalization (``_folded``)."""
    padding = padding or ("VALID" if conv.stride == 2 else "SAME")
    precision = jax.lax.Precision.HIGHEST  # results must not depend on the accelerator
    layer = nn.Conv(conv.features, conv.kernel, conv.stride, padding=padding, precision=precision, name=conv.name)
    return nn.relu(layer(x))


class Inception(nn.Module):
    """Inception-v3 on images resized and scaled to [-1, 1)."""

    @nn.compact
    def __call__(self, x: Array) -> Outputs:
        """Map (B, H, W, 3), H and W at least 75, to features (B, 2048) and logits without bias (B, 1008)."""
        x = _conv(Conv("Conv2d_1a_3x3", 32, (3, 3), 2), x)
        x = _conv(Conv("Conv2d_2a_3x3", 32, (3, 3)), x, "VALID")
        x = _conv(Conv("Conv2d_2b_3x3", 64, (3, 3)), x)
        x = nn.max_pool(x, (3, 3), strides=(2, 2))
        x = _conv(Conv("Conv2d_3b_1x1", 80), x)
        x = _conv(Conv("Conv2d_4a_3x3", 192, (3, 3)), x, "VALID")
        x = nn.max_pool(x, (3, 3), strides=(2, 2))
        for mixed in BLOCKS:
            x = _Block(mixed, name=mixed.name)(x)
        features = x.mean(axis=(1, 2))
        logits = nn.Dense(NUM_CLASSES, use_bias=False, precision=jax.lax.Precision.HIGHEST, name="fc")(features)
        return Outputs(features, logits)


def resize(images: Array) -> Array:
    """Resize images (B, H, W, C) to 299 × 299 as in TensorFlow 1: bilinear, with aligned top left corners."""
    across = [_interpolation(side) for side in images.shape[1:3]]
    return jnp.einsum("ih,bhwc,jw->bijc", across[0], images, across[1], precision=jax.lax.Precision.HIGHEST)


def _interpolation(side: int) -> np.ndarray:
    """Return the weights of ``side`` input pixels for each of 299 output pixels, shape (299, side)."""
    position = np.arange(SIZE, dtype=np.float32) * np.float32(side / SIZE)
    below = np.floor(position).astype(int)
    above = np.minimum(below + 1, side - 1)
    weights = np.zeros((SIZE, side), np.float32)
    weights[np.arange(SIZE), below] += 1 - (position - below)
    weights[np.arange(SIZE), above] += position - below
    return weights


def preprocess(images: Array) -> Array:
    """Round images in [0, 1], shape (B, H, W, 1 or 3), to bytes, resize to 299 × 299 × 3 and scale to [-1, 1)."""
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"images have {images.shape[-1]} channels, but Inception takes 3, or 1, which is repeated")
    x = jnp.round(255 * jnp.broadcast_to(images, (*images.shape[:-1], 3)))
    return (resize(x) - 128) / 128


def _apply(variables: PyTree, images: Array) -> Outputs:
    return Inception().apply(variables, preprocess(images))  # type: ignore[return-value]


@check_arguments
def inception(path: str | Path) -> FeatureNetwork:
    """Return Inception-v3 with weights from a ``.safetensors`` file, written by ``convert_inception``.

    The network is "inception-v3", on whose features a Fréchet distance is an FID, if the file was converted from the
    published weights (``FID_WEIGHTS_SHA256``); "inception-v3-unverified" for any other weights.

    Raises:
      FileNotFoundError: if the file does not exist.
      ValueError: if the file has another format, or a tensor is missing or has the wrong shape.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there are no Inception weights at {path}; download pt_inception-2015-12-05-6726825d.pth from the "
            f"releases of pytorch-fid (fid_weights) and convert it: {CONVERT}"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            source = (file.metadata() or {}).get("sha256", "")
    except SafetensorError:
        raise ValueError(f"{path} is not a safetensors file; convert the published weights first: {CONVERT}") from None
    variables = {"params": _folded(tensors)}
    genuine = source.startswith(FID_WEIGHTS_SHA256)
    return FeatureNetwork(
        name="inception-v3" if genuine else "inception-v3-unverified",
        hash=FID_WEIGHTS_SHA256 if genuine else arrays_hash(variables),
        variables=variables,
        apply=_apply,
    )


def tensor_shapes() -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the tensors of the published file that the network uses."""
    template = jax.eval_shape(Inception().init, jax.random.key(0), jnp.zeros((1, 75, 75, 3)))["params"]
    shapes: dict[str, tuple[int, ...]] = {"fc.weight": (NUM_CLASSES, template["fc"]["kernel"].shape[0])}
    for path, leaf in jax.tree_util.tree_leaves_with_path(template):
        *names, kind = (entry.key for entry in path)
        if names != ["fc"] and kind == "kernel":
            height, width, inputs, outputs = leaf.shape
            prefix = ".".join(names)
            shapes[f"{prefix}.conv.weight"] = (outputs, inputs, height, width)
            shapes |= {f"{prefix}.bn.{part}": (outputs,) for part in ("weight", "bias", "running_mean", "running_var")}
    return shapes


def check_tensors(tensors: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the tensor, unless tensors, arrays of any library, are those of FID's Inception."""
    for name, shape in tensor_shapes().items():
        if name not in tensors:
            raise ValueError(f"the weights lack the tensor {name}; convert the published file: {CONVERT}")
        if tuple(tensors[name].shape) != shape:
            raise ValueError(
                f"tensor {name} has shape {tuple(tensors[name].shape)}, but Inception's is {shape}; "
                f"convert the published file: {CONVERT}"
            )


def _folded(tensors: Mapping[str, np.ndarray]) -> PyTree:
    """Return parameters, with each normalization folded into the preceding convolution."""
    check_tensors(tensors)
    wide = {name: tensors[name].astype(np.float64) for name in tensor_shapes()}
    params: dict[str, PyTree] = {"fc": {"kernel": wide["fc.weight"].T.astype(np.float32)}}
    for name in [name.removesuffix(".conv.weight") for name in wide if name.endswith(".conv.weight")]:
        # γ (Wx − μ) / √(σ² + ε) + β
        scale = wide[f"{name}.bn.weight"] / np.sqrt(wide[f"{name}.bn.running_var"] + EPSILON)
        kernel = (wide[f"{name}.conv.weight"] * scale[:, None, None, None]).transpose(2, 3, 1, 0)
        bias = wide[f"{name}.bn.bias"] - wide[f"{name}.bn.running_mean"] * scale
        *block, layer = name.split(".")
        place = params.setdefault(block[0], {}) if block else params
        place[layer] = {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
    return params
