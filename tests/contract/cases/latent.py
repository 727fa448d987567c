"""Models over the codes of an autoencoder."""

from __future__ import annotations

from genjax import latent, moment_matching, nets, ops, vae
from tests.contract.batches import image_batch
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


CASES = (Case("latent_model", _latent_model, batch=image_batch),)

OWN_METHODS = {
    "LatentModel": ("codes", "join", "join_stages", "part"),
}
