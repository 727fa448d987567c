"""Inception-v3: its architecture, its resize, its weight files, and all of it against torch-fidelity."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from genjax.metrics.features import convert_inception, inception
from genjax.metrics.features.inception import GENUINE, resize, tensor_shapes


@pytest.fixture(scope="module")
def weights():
    """Random weights by the names of the published file, scaled so that activations neither vanish nor explode."""
    rng = np.random.default_rng(0)

    def draw(name, shape):
        if name.endswith(("conv.weight", "fc.weight")):
            return rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
        if name.endswith(("running_var", "bn.weight")):
            return rng.uniform(0.5, 1.5, size=shape)
        return 0.2 * rng.normal(size=shape)

    return {name: draw(name, shape).astype(np.float32) for name, shape in tensor_shapes().items()}


def test_it_has_the_published_number_of_parameters():
    """21,785,568 in convolutions and normalizations, as every description of Inception-v3 without its head counts."""
    count = sum(
        np.prod(shape)
        for name, shape in tensor_shapes().items()
        if "running" not in name and not name.startswith("fc.")
    )
    assert count == 21_785_568


def test_resize_is_the_legacy_bilinear_one():
    """Pixel i of 299 lies at i · H / 299 between its neighbours, and beyond the last pixel there is no more to see."""
    image = np.random.default_rng(0).uniform(0, 255, size=(1, 3, 5, 2)).astype(np.float32)
    resized = np.asarray(resize(jnp.asarray(image)))
    assert resized.shape == (1, 299, 299, 2)
    for i, j in [(0, 0), (1, 298), (150, 77), (298, 298), (240, 299 * 4 // 5 + 1)]:
        y, x = i * 3 / 299, j * 5 / 299
        top, left = int(y), int(x)
        bottom, right = min(top + 1, 2), min(left + 1, 4)
        above = image[0, top, left] * (1 - (x - left)) + image[0, top, right] * (x - left)
        below = image[0, bottom, left] * (1 - (x - left)) + image[0, bottom, right] * (x - left)
        np.testing.assert_allclose(resized[0, i, j], above * (1 - (y - top)) + below * (y - top), rtol=1e-4)
    same = np.random.default_rng(1).uniform(size=(1, 299, 299, 3)).astype(np.float32)
    np.testing.assert_array_equal(resize(jnp.asarray(same)), same)


def test_weight_files_are_read_whole_or_refused(weights, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(weights, path, {"sha256": GENUINE + "0" * 56})
    genuine = inception(path)
    assert (genuine.name, genuine.hash) == ("inception-v3", GENUINE)
    save_file(weights, path)
    other = inception(path)
    assert other.name == "inception-v3-unverified"
    assert other.hash not in (None, GENUINE)
    save_file({name: tensor for name, tensor in weights.items() if name != "Mixed_6d.branch7x7_2.bn.bias"}, path)
    with pytest.raises(
        ValueError,
        match=r"lack the tensor Mixed_6d.branch7x7_2.bn.bias; convert",
    ):
        inception(path)
    save_file(weights | {"fc.weight": np.zeros((1000, 2048), np.float32)}, path)
    with pytest.raises(ValueError, match=r"fc.weight has shape \(1000, 2048\), but Inception's is \(1008, 2048\)"):
        inception(path)
    (tmp_path / "weights.pth").write_bytes(b"PK\x03\x04 a zip archive")
    with pytest.raises(ValueError, match="not a safetensors file; convert the published weights first"):
        inception(tmp_path / "weights.pth")
    with pytest.raises(FileNotFoundError, match=r"download pt_inception-2015-12-05-6726825d\.pth"):
        inception(tmp_path / "absent.safetensors")


def test_images_of_two_channels_are_refused(weights, tmp_path):
    save_file(weights, tmp_path / "weights.safetensors")
    network = inception(tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="images have 2 channels, but Inception takes 3, or 1"):
        jax.eval_shape(network.apply, network.variables, jnp.zeros((1, 8, 8, 2)))
    shapes = jax.eval_shape(network.apply, network.variables, jnp.zeros((5, 8, 8, 1)))
    assert [shape.shape for shape in shapes] == [(5, 2048), (5, 1008)]


@pytest.mark.peers
def test_features_and_logits_are_those_of_torch_fidelity(weights, tmp_path, torch_fidelity, capsys):
    torch = pytest.importorskip("torch")
    torch.save(
        {name: torch.from_numpy(tensor) for name, tensor in weights.items()} | _fc_bias(torch), tmp_path / "w.pth"
    )
    assert convert_inception.main([str(tmp_path / "w.pth"), str(tmp_path / "w.safetensors")]) == 0
    assert "distances on these are not FID" in capsys.readouterr().err
    network = inception(tmp_path / "w.safetensors")
    peer = torch_fidelity.feature_extractor_inceptionv3.FeatureExtractorInceptionV3(
        "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(tmp_path / "w.pth")
    )
    apply = jax.jit(network.apply)
    for shape in ((2, 32, 32, 3), (2, 40, 56, 3)):
        images = np.random.default_rng(1).integers(0, 256, size=shape, dtype=np.uint8)
        theirs = peer(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
        ours = apply(network.variables, jnp.asarray(images, jnp.float32) / 255)
        for mine, other in zip(ours, (part.numpy() for part in theirs), strict=True):
            assert np.linalg.norm(mine - other) <= 1e-4 * np.linalg.norm(other)
            assert np.abs(other[0] - other[1]).max() > 0.01 * np.abs(other).max()  # and they depend on the image


def _fc_bias(torch):
    return {"fc.bias": torch.full((1008,), 3.0)}
