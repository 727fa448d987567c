"""Networks are told whether they are trained: ``train`` is True, with a key for dropout, in losses and only there.

What they keep for later, such as averages of batch statistics, comes back from the losses.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from genjax import diffusion, gan, moment_matching, nets, ops, vae
from tests.networks import Recorder

X = jax.random.bernoulli(jax.random.key(9), 0.5, (4, 5)).astype(jnp.float32)
TRAINED, FIXED = {(True, True)}, {(False, False)}
FIXED_WITH_KEY = {(False, True)}  # a key that is ignored
SILENT = set()  # not called


def mlp(*features):
    return Recorder(nets.MLP(features))


def a_vae():
    return vae.VAE(latent_dim=2, encoder=mlp(4), decoder=mlp(5), likelihood=ops.Bernoulli())


def an_iwae():
    return vae.IWAE(latent_dims=(2,), encoders=(mlp(4),), decoders=(mlp(5),), likelihood=ops.Bernoulli())


def an_aae():
    return vae.AdversarialAutoencoder(
        prior=ops.StandardNormal(2),
        encoder=mlp(4),
        decoder=mlp(5),
        discriminator=mlp(1),
        likelihood=ops.Bernoulli(),
        code="gaussian",
        gradient_penalty=1.0,
    )


def an_avb():
    networks = {"encoder": mlp(2), "decoder": mlp(5), "discriminator": mlp(1)}
    return vae.AdversarialVariationalBayes(latent_dim=2, noise_dim=2, likelihood=ops.Bernoulli(), **networks)


def a_vq_vae():
    encoder = Recorder(nets.MLP((), output_shape=(2, 3)))
    settings = {"num_codes": 4, "code_dim": 3, "grid": (2,)}
    return vae.VQVAE(encoder=encoder, decoder=mlp(5), likelihood=ops.Bernoulli(), **settings)


def a_gan(**options):
    return gan.GAN(latent_dim=2, generator=mlp(5), discriminator=mlp(1), **options)


def a_gmmn():
    return moment_matching.GMMN(latent_dim=2, generator=mlp(5), bandwidths=(1.0,))


def a_drifting():
    return moment_matching.Drifting(latent_dim=2, generator=mlp(5), widths=(1.0,))


def a_diffusion():
    return diffusion.Diffusion(shape=(5,), net=Recorder(nets.DenoisingMLP((4,))), num_steps=2)


def a_mean_flow():
    return diffusion.MeanFlow(shape=(5,), net=Recorder(nets.DenoisingMLP((4,))))


def a_consistency_model():
    return diffusion.ConsistencyModel(denoiser=a_diffusion())


def loss(name):
    def run(model, variables, key):
        return getattr(model, name)(*variables, key, {"x": X}, jnp.int32(0))

    return run


def method(name, *arguments, keyed=False, **options):
    def run(model, variables, key):
        return getattr(model, name)(variables, *([key] if keyed else []), *arguments, **options)

    return run


Z = jnp.zeros((4, 2))
CASES = {
    "vae loss": (a_vae, loss("loss"), {"encoder": TRAINED, "decoder": TRAINED}),
    "vae sample": (a_vae, method("sample", 3, keyed=True), {"encoder": SILENT, "decoder": FIXED}),
    "vae encode": (a_vae, method("encode", X), {"encoder": FIXED, "decoder": SILENT}),
    "vae reconstruct": (a_vae, method("reconstruct", X, keyed=True), {"encoder": FIXED, "decoder": FIXED}),
    "vae bound": (a_vae, method("log_prob_lower_bound", X, keyed=True), {"encoder": FIXED, "decoder": FIXED}),
    "vae estimate": (a_vae, method("log_prob_estimate", X, 3, keyed=True), {"encoder": FIXED, "decoder": FIXED}),
    "iwae loss": (an_iwae, loss("loss"), {"encoders": TRAINED, "decoders": TRAINED}),
    "iwae sample": (an_iwae, method("sample", 3, keyed=True), {"encoders": SILENT, "decoders": FIXED}),
    "iwae encode": (an_iwae, method("encode", X), {"encoders": FIXED, "decoders": SILENT}),
    "iwae estimate": (an_iwae, method("log_prob_estimate", X, 3, keyed=True), {"encoders": FIXED, "decoders": FIXED}),
    "aae reconstruction": (
        an_aae,
        loss("reconstruction_loss"),
        {"encoder": TRAINED, "decoder": TRAINED, "discriminator": SILENT},
    ),
    "aae discriminator": (
        an_aae,
        loss("discriminator_loss"),
        {"encoder": TRAINED, "decoder": SILENT, "discriminator": TRAINED},
    ),
    "aae regularizer": (
        an_aae,
        loss("regularizer_loss"),
        {"encoder": TRAINED, "decoder": SILENT, "discriminator": TRAINED},
    ),
    "aae sample": (an_aae, method("sample", 3, keyed=True), {"encoder": SILENT, "decoder": FIXED}),
    "aae encode": (an_aae, method("encode", X), {"encoder": FIXED, "decoder": SILENT}),
    "aae posterior": (an_aae, method("sample_posterior", X, keyed=True), {"encoder": FIXED_WITH_KEY}),
    "avb discriminator": (
        an_avb,
        loss("discriminator_loss"),
        {"encoder": TRAINED, "decoder": SILENT, "discriminator": TRAINED},
    ),
    "avb elbo": (an_avb, loss("elbo_loss"), {"encoder": TRAINED, "decoder": TRAINED, "discriminator": TRAINED}),
    "avb sample": (an_avb, method("sample", 3, keyed=True), {"encoder": SILENT, "decoder": FIXED}),
    "avb encode": (an_avb, method("encode", X), {"encoder": FIXED}),
    "avb estimate": (
        an_avb,
        method("log_prob_estimate", X, 3, keyed=True),
        {"encoder": FIXED_WITH_KEY, "decoder": FIXED, "discriminator": SILENT},
    ),
    "vq_vae loss": (a_vq_vae, loss("loss"), {"encoder": TRAINED, "decoder": TRAINED}),
    "vq_vae sample": (a_vq_vae, method("sample", 3, keyed=True), {"encoder": SILENT, "decoder": FIXED}),
    "vq_vae encode": (a_vq_vae, method("encode", X), {"encoder": FIXED, "decoder": SILENT}),
    "vq_vae bound": (a_vq_vae, method("log_prob_lower_bound", X, keyed=True), {"encoder": FIXED, "decoder": FIXED}),
    "gan discriminator": (a_gan, loss("discriminator_loss"), {"generator": TRAINED, "discriminator": TRAINED}),
    "gan generator": (a_gan, loss("generator_loss"), {"generator": TRAINED, "discriminator": TRAINED}),
    "gan penalties": (
        lambda: a_gan(penalties=(gan.R1(),)),
        loss("discriminator_loss"),
        {"generator": TRAINED, "discriminator": TRAINED | FIXED},
    ),
    "gan sample": (a_gan, method("sample", 3, keyed=True), {"generator": FIXED, "discriminator": SILENT}),
    "gan decode": (a_gan, method("decode", Z), {"generator": FIXED, "discriminator": SILENT}),
    "gan diagnose": (
        a_gan,
        method("diagnose", {"x": X}, keyed=True),
        {"generator": FIXED_WITH_KEY, "discriminator": TRAINED},
    ),
    "gmmn loss": (a_gmmn, loss("loss"), {"generator": TRAINED}),
    "gmmn sample": (a_gmmn, method("sample", 3, keyed=True), {"generator": FIXED}),
    "drifting loss": (a_drifting, loss("loss"), {"generator": TRAINED}),
    "drifting sample": (a_drifting, method("sample", 3, keyed=True), {"generator": FIXED}),
    "diffusion loss": (a_diffusion, loss("loss"), {"net": TRAINED}),
    "diffusion sample": (a_diffusion, method("sample", 3, keyed=True), {"net": FIXED}),
    "diffusion encode": (a_diffusion, method("encode", X), {"net": FIXED}),
    "diffusion bound": (a_diffusion, method("log_prob_lower_bound", X, 2, keyed=True), {"net": FIXED}),
    "mean flow loss": (a_mean_flow, loss("loss"), {"net": TRAINED | FIXED}),
    "mean flow sample": (a_mean_flow, method("sample", 3, keyed=True), {"net": FIXED}),
    "consistency loss": (a_consistency_model, loss("loss"), {"denoiser": TRAINED}),
    "consistency sample": (a_consistency_model, method("sample", 3, keyed=True), {"denoiser": FIXED}),
    "consistency decode": (a_consistency_model, method("decode", X), {"denoiser": FIXED}),
    "diffusion flow": (a_diffusion, method("log_prob_estimate", X, 1, keyed=True), {"net": FIXED}),
}


@pytest.mark.parametrize("name", CASES)
def test_networks_are_trained_in_losses_and_fixed_elsewhere(name):
    make, run, expected = CASES[name]
    model = make()
    variables = model.init(jax.random.key(0), {"x": X})
    networks = {part: getattr(model, part) for part in expected}
    networks = {part: net[0] if isinstance(net, tuple) else net for part, net in networks.items()}
    networks = {part: getattr(net, "net", net) if part == "denoiser" else net for part, net in networks.items()}
    for net in networks.values():
        net.calls.clear()
    run(model, variables, jax.random.key(1))
    assert {part: net.calls for part, net in networks.items()} == expected


class Normalized(nn.Module):
    """A linear network with batch normalization, which ignores further arguments such as a noise level."""

    features: int

    @nn.compact
    def __call__(self, x, *arguments, train=False):
        return nn.BatchNorm(use_running_average=not train)(nn.Dense(self.features)(x))


LOSSES = {
    "vae loss": (a_vae, loss("loss"), ("encoder", "decoder")),
    "aae reconstruction": (an_aae, loss("reconstruction_loss"), ("encoder", "decoder")),
    "avb elbo": (an_avb, loss("elbo_loss"), ("encoder", "decoder")),
    "avb discriminator": (an_avb, loss("discriminator_loss"), ("discriminator",)),
    "gan discriminator": (a_gan, loss("discriminator_loss"), ("discriminator",)),
    "gan generator": (a_gan, loss("generator_loss"), ("generator",)),
    "gmmn loss": (a_gmmn, loss("loss"), ("generator",)),
    "drifting loss": (a_drifting, loss("loss"), ("generator",)),
    "diffusion loss": (a_diffusion, loss("loss"), ("denoiser",)),
    "mean flow loss": (a_mean_flow, loss("loss"), ("velocity",)),
    "consistency loss": (a_consistency_model, loss("loss"), ("denoiser",)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_return_new_averages_of_batch_statistics(name, monkeypatch):
    monkeypatch.setattr("tests.contract.test_train_flags.mlp", lambda *features: Normalized(features[-1]))
    monkeypatch.setattr(
        "tests.contract.test_train_flags.Recorder", lambda net: Normalized(5)
    )  # of diffusion and mean flow
    make, run, parts = LOSSES[name]
    model = make()
    variables = model.init(jax.random.key(0), {"x": X})
    _, (state, _) = run(model, variables, jax.random.key(1))
    for part in parts:
        before, after = (jax.tree.leaves(a[part]) for a in (variables.state, state))
        assert before
        assert all((a != b).any() for a, b in zip(before, after, strict=True)), part
