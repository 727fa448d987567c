"""Variational autoencoders and their kin."""

from __future__ import annotations

from genjax import nets, ops, vae
from tests.contract.batches import code_batch, image_batch
from tests.contract.case import Case


def _vae(**options) -> vae.VAE:
    shape = (4, 4, 1)
    return vae.VAE(
        latent_dim=2,
        encoder=nets.MLP(features=(8, 4)),
        decoder=nets.MLP(features=(8,), output_shape=shape),
        likelihood=ops.Bernoulli(),
        **options,
    )


def _iwae(**options) -> vae.IWAE:
    return vae.IWAE(
        latent_dims=(2,),
        encoders=(nets.MLP(features=(8, 4)),),
        decoders=(nets.MLP(features=(8,), output_shape=(4, 4, 1)),),
        likelihood=ops.Bernoulli(),
        num_importance_samples=3,
        **options,
    )


def _two_layer_iwae() -> vae.IWAE:
    return vae.IWAE(
        latent_dims=(3, 2),
        encoders=(nets.MLP(features=(8, 6)), nets.MLP(features=(8, 4))),
        decoders=(nets.MLP(features=(8,), output_shape=(4, 4, 1)), nets.MLP(features=(8, 6))),
        likelihood=ops.Bernoulli(),
        num_importance_samples=3,
    )


def _aae(**options) -> vae.AdversarialAutoencoder:
    fields = {
        "prior": ops.StandardNormal(2),
        "encoder": nets.MLP(features=(8, 2)),
        "decoder": nets.MLP(features=(8,), output_shape=(4, 4, 1)),
        "discriminator": nets.MLP(features=(8, 1)),
        "likelihood": ops.Bernoulli(),
    }
    return vae.AdversarialAutoencoder(**(fields | options))


def _wae() -> vae.WassersteinAutoencoder:
    return vae.WassersteinAutoencoder(
        prior=ops.StandardNormal(2),
        encoder=nets.MLP(features=(8, 2)),
        decoder=nets.MLP(features=(8,), output_shape=(4, 4, 1)),
        likelihood=ops.Bernoulli(),
        bandwidths=(1.0, 2.0),
    )


def _avb(**options) -> vae.AdversarialVariationalBayes:
    return vae.AdversarialVariationalBayes(
        latent_dim=2,
        noise_dim=3,
        encoder=nets.MLP(features=(8, 2)),
        decoder=nets.MLP(features=(8,), output_shape=(4, 4, 1)),
        discriminator=nets.MLP(features=(8, 1)),
        likelihood=ops.Bernoulli(),
        num_contrast_samples=4,
        **options,
    )


def _vq_vae(**options) -> vae.VQVAE:
    return vae.VQVAE(
        encoder=nets.MLP(features=(8,), output_shape=(2, 3)),
        decoder=nets.MLP(features=(8,), output_shape=(4, 4, 1)),
        likelihood=ops.Gaussian(log_scale=-1.0),
        num_codes=4,
        code_dim=3,
        grid=(2,),
        **options,
    )


CASES = (
    Case("vae", _vae, batch=image_batch),
    Case("conditional_vae", lambda: _vae(num_classes=3, kl_warmup_steps=10), batch=image_batch),
    Case("iwae", lambda: _iwae(gradient="reparameterized"), batch=image_batch),
    Case("two_layer_iwae", _two_layer_iwae, batch=image_batch),
    Case("adversarial_autoencoder", _aae, batch=image_batch),
    Case(
        "adversarial_autoencoder_gaussian",
        lambda: _aae(encoder=nets.MLP(features=(8, 4)), code="gaussian", num_classes=3, label_to="decoder"),
        batch=image_batch,
    ),
    Case(
        "adversarial_autoencoder_by_class",
        lambda: _aae(prior=ops.GaussianMixture(num_components=3), num_classes=3, label_to="discriminator"),
        batch=image_batch,
    ),
    Case("wasserstein_autoencoder", _wae, batch=image_batch),
    Case("avb", _avb, batch=image_batch),
    Case("avb_without_contrast", lambda: _avb(adaptive_contrast=False), batch=image_batch),
    Case("vq_vae", lambda: _vq_vae(restart_below=0.1), batch=image_batch, moves={"autoencoder": ("codebook",)}),
    Case("vq_vae_by_loss", lambda: _vq_vae(codebook="loss"), batch=image_batch),
    Case("factorized_categorical", lambda: vae.FactorizedCategorical(num_values=5), batch=code_batch),
)

OWN_METHODS = {
    "VQVAE": ("codes", "quantize"),
}
