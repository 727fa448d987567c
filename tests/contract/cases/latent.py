"""Models over the codes of an autoencoder."""

from __future__ import annotations

from genjax import diffusion, latent, moment_matching, nets, ops, vae
from tests.contract.batches import NUM_FEATURES, image_batch, real_batch
from tests.contract.case import Case


def _latent_model() -> latent.LatentModel:
    autoencoder = vae.VAE(
        latent_dim=2,
        encoder=nets.MLP(features=(8, 4)),
        decoder=nets.MLP(features=(8,), output_shape=(4, 4, 1)),
        likelihood=ops.Bernoulli(),
    )
    prior = moment_matching.GMMN(latent_dim=3, generator=nets.MLP(features=(8, 2)), bandwidths=(0.5, 1.0))
    return latent.LatentModel(autoencoder=autoencoder, prior=prior)


def _unit_scale() -> latent.UnitScale:
    net = nets.DenoisingMLP((8,), embedding_features=8, fourier_features=0, output_scale=1.0)
    return latent.UnitScale(model=diffusion.Diffusion(shape=(NUM_FEATURES,), net=net, num_steps=3))


CASES = (
    Case("latent_model", _latent_model, batch=image_batch),
    Case("unit_scale", _unit_scale, batch=real_batch),
)

OWN_METHODS = {
    "LatentModel": ("codes", "join", "join_stages", "part"),
}
