"""Inception-v3: architecture, resizing and weight files, compared with torch-fidelity."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from genjax.metrics.features import convert_inception, inception
from genjax.metrics.features.inception import (
    FID_WEIGHTS_SHA256,
    Conv,
    Inception,
    Mixed,
    _Block,
    _folded,
    preprocess,
    resize,
    tensor_shapes,
)

# Results of torch-fidelity 0.4.0 with the weights below for ``noise()``, without resizing: the first features and
# logits, and the norms of both.
FEATURES, FEATURES_NORM = (0.0, 4.886744, 4.714342, 7.4154377), 144.45287
LOGITS, LOGITS_NORM = (7.3616695, -3.707477, 6.6818037, 6.719369), 147.8141


def noise():
    return np.random.default_rng(1).integers(0, 256, size=(1, 107, 107, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def weights():
    """Random weights with the names of the published file, scaled so that activations neither vanish nor explode."""
    rng = np.random.default_rng(0)

    def draw(name, shape):
        if name.endswith(("conv.weight", "fc.weight")):
            return rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
        if name.endswith(("running_var", "bn.weight")):
            return rng.uniform(0.5, 1.5, size=shape)
        return 0.2 * rng.normal(size=shape)

    return {name: draw(name, shape).astype(np.float32) for name, shape in sorted(tensor_shapes().items())}


def test_it_has_the_published_number_of_parameters():
    """Inception-v3 without its head has 21,785,568 parameters in convolutions and normalizations."""
    count = sum(
        np.prod(shape)
        for name, shape in tensor_shapes().items()
        if "running" not in name and not name.startswith("fc.")
    )
    assert count == 21_785_568


def test_resize_is_the_legacy_bilinear_one():
    """Output pixel i of 299 samples position i · H / 299, clamped to the last input pixel."""
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


def test_images_become_bytes_before_they_are_resized():
    levels = np.array([0, 1, 128, 200, 255])
    grey = jnp.asarray((levels / 255).reshape(1, 1, 5, 1), jnp.float32)
    x = preprocess(grey)
    assert x.shape == (1, 299, 299, 3)
    np.testing.assert_array_equal(x, np.repeat(x[..., :1], 3, axis=-1))
    assert (float(x.min()), float(x.max())) == (-1.0, 127 / 128)
    np.testing.assert_array_equal(preprocess(grey + 0.4 / 255), x)  # the same bytes


@pytest.mark.parametrize(("pool", "of_window"), [("average", np.mean), ("max", np.max)])
def test_pools_see_nothing_beyond_the_image(pool, of_window):
    """Compare every window with a loop, including those at the edge; the convolution follows the pooling."""
    # Negative, because zero padding would then change the results.
    x = np.random.default_rng(2).normal(size=(1, 4, 5, 2)).astype(np.float32) - 3
    constant = {"kernel": jnp.zeros((1, 1, 2, 1)), "bias": jnp.array([7.0])}
    identity = {"kernel": jnp.eye(2).reshape(1, 1, 2, 2), "bias": jnp.full(2, 20.0)}  # keeps the ReLU linear
    block = _Block(Mixed("block", ((Conv("one", 1),),), pool, 2))
    y = np.asarray(block.apply({"params": {"one": constant, "branch_pool": identity}}, jnp.asarray(x)))
    np.testing.assert_array_equal(y[..., 0], np.full((1, 4, 5), 7.0))
    for i in range(4):
        for j in range(5):
            window = x[0, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            np.testing.assert_allclose(y[0, i, j, 1:] - 20, of_window(window, axis=(0, 1)), rtol=1e-5)


def test_numbers_are_those_of_the_published_network(weights):
    images = (jnp.asarray(noise(), jnp.float32) - 128) / 128
    features, logits = jax.jit(Inception().apply)({"params": _folded(weights)}, images)
    np.testing.assert_allclose(features[0, :4], FEATURES, rtol=1e-4)
    np.testing.assert_allclose(logits[0, :4], LOGITS, rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(features), FEATURES_NORM, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(logits), LOGITS_NORM, rtol=1e-5)


def test_weight_files_are_read_whole_or_refused(weights, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(weights, path, {"sha256": FID_WEIGHTS_SHA256 + "0" * 56})
    genuine = inception(path)
    assert (genuine.name, genuine.hash) == ("inception-v3", FID_WEIGHTS_SHA256)
    save_file(weights, path)
    other = inception(path)
    assert other.name == "inception-v3-unverified"
    assert other.hash not in (None, FID_WEIGHTS_SHA256)
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
    assert "distances on these weights are not FID" in capsys.readouterr().err
    network = inception(tmp_path / "w.safetensors")
    peer = torch_fidelity.feature_extractor_inceptionv3.FeatureExtractorInceptionV3(
        "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(tmp_path / "w.pth")
    )
    apply = jax.jit(network.apply)
    for shape in ((2, 32, 32, 3), (2, 64, 48, 3)):
        images = np.random.default_rng(1).integers(0, 256, size=shape, dtype=np.uint8)
        theirs = ask(peer, torch, images)
        ours = apply(network.variables, jnp.asarray(images, jnp.float32) / 255)
        for mine, other in zip(ours, theirs, strict=True):
            assert np.linalg.norm(mine - other) <= 1e-4 * np.linalg.norm(other)
            assert np.abs(other[0] - other[1]).max() > 0.01 * np.abs(other).max()  # and they depend on the image

    peer.INPUT_IMAGE_SIZE = 107
    for theirs, first, norm in zip(
        ask(peer, torch, noise()), (FEATURES, LOGITS), (FEATURES_NORM, LOGITS_NORM), strict=True
    ):
        np.testing.assert_allclose([*theirs[0, :4], np.linalg.norm(theirs)], [*first, norm], rtol=1e-4)


@pytest.mark.peers
def test_what_cannot_be_converted_is_refused(weights, tmp_path, capsys):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(tensor) for name, tensor in weights.items()}
    source, target = tmp_path / "w.pth", tmp_path / "w.safetensors"

    def refusal():
        assert convert_inception.main([str(source), str(target)]) == 2
        assert not target.exists()
        return capsys.readouterr().err

    assert "No such file" in refusal()
    source.write_bytes(b"hello world")
    assert "is not a PyTorch file of tensors" in refusal()
    torch.save(torch.nn.Linear(2, 2), source)  # code, which is never run
    assert "is not a PyTorch file of tensors (UnpicklingError)" in refusal()
    torch.save(torch.zeros(3), source)
    assert "holds a Tensor, not named tensors" in refusal()
    torch.save({name: tensor for name, tensor in tensors.items() if name != "fc.weight"}, source)
    assert "lack the tensor fc.weight" in refusal()
    torch.save(tensors | {"fc.weight": torch.zeros(1000, 2048)}, source)
    assert "fc.weight has shape (1000, 2048), but Inception's is (1008, 2048)" in refusal()
    torch.save(tensors, source)
    target = tmp_path / "absent" / "w.safetensors"
    assert "No such file" in refusal()


def ask(peer, torch, images):
    return [part.numpy() for part in peer(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))]


def _fc_bias(torch):
    return {"fc.bias": torch.full((1008,), 3.0)}
