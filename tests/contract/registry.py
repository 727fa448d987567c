"""The models that the contract tests hold to the contract. A new model joins by one line in ``CASES``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax

from genjax import autoregressive, boltzmann, diffusion, flow, gan, latent, moment_matching, nets, ops, vae
from genjax.capabilities import conditions
from genjax.core import Array, Batch, Learner
from genjax.learners import Frozen, Optimizers, Stage, gradient_learner

NUM_EXAMPLES = 8
NUM_FEATURES = 6

# With an epsilon this large, Adam does not blow rounding errors of tiny gradients up to whole steps, so that compiled,
# eager, mapped and sharded runs can be compared tightly.
SMOOTH_ADAM = optax.adam(1e-2, eps=1e-3)


@dataclass(frozen=True)
class Case:
    """One model under the contract.

    Attributes:
      name: id of its tests.
      model: makes the model; called more than once, it makes equal models.
      batch: from a key to one small minibatch, with an even number of examples under ``x``.
      moves: by objective, the entries of ``state`` that a turn of it moves. It moves no others.
      optimizers: as ``gradient_learner`` takes them.
      schedule: as ``gradient_learner`` takes it.
      extremes: constant data at which losses and gradients stay finite.
      scale: factor on all parameters at which losses and gradients stay finite.
    """

    name: str
    model: Callable[[], Any]
    _: KW_ONLY
    batch: Callable[[Array], Batch]
    moves: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    optimizers: Optimizers = SMOOTH_ADAM
    schedule: tuple[str, ...] | None = None
    extremes: tuple[float, ...] = (0.0, 1.0)
    scale: float = 10.0


@dataclass(frozen=True)
class Pipeline:
    """A method of several stages under the contract."""

    name: str
    stages: Callable[[], tuple[Stage, ...]]
    _: KW_ONLY
    batch: Callable[[Array], Batch]


def unit_batch(key: Array) -> Batch:
    """Vectors in (0, 1), correlated so that there is something to learn."""
    return {"x": jax.nn.sigmoid(_correlated(key))}


def binary_batch(key: Array) -> Batch:
    """Vectors in {0, 1}."""
    return {"x": (_correlated(key) > 0).astype(jnp.float32)}


def integer_batch(key: Array) -> Batch:
    """Vectors in {0, 1, 2}."""
    return {"x": jnp.digitize(_correlated(key), jnp.array([-1.0, 1.0])).astype(jnp.int32)}


def image_batch(key: Array) -> Batch:
    """Binary images of 4 by 4 pixels and one channel, with a label of three classes."""
    key_x, key_y = jax.random.split(key)
    x = jax.random.bernoulli(key_x, 0.3, (NUM_EXAMPLES, 4, 4, 1)).astype(jnp.float32)
    return {"x": x, "label": jax.random.randint(key_y, (NUM_EXAMPLES,), 0, 3)}


def _correlated(key: Array) -> Array:
    key_common, key_own = jax.random.split(key)
    common = jax.random.normal(key_common, (NUM_EXAMPLES, 1))
    return 2 * common + jax.random.normal(key_own, (NUM_EXAMPLES, NUM_FEATURES))


def label_option(model: Any, num_examples: int) -> dict[str, Array]:
    """``{"label": ..., "local": ...}`` where the model wants them, and nothing where it does not."""
    options = {}
    for condition in conditions(model):
        if condition.kind == "label":
            options[condition.name] = jnp.arange(num_examples, dtype=jnp.int32) % condition.num_values
        elif condition.in_batch:
            shape = (num_examples, *(size or 2 for size in condition.shape))
            options[condition.name] = jnp.linspace(-1, 1, math.prod(shape)).reshape(shape)
    return options


def _gan(**options) -> gan.GAN:
    fields = {
        "latent_dim": 3,
        "generator": gan.MLPGenerator((8,), output_shape=(NUM_FEATURES,), normalization="batch"),
        "discriminator": gan.MLPDiscriminator((8,), normalization="spectral"),
    }
    return gan.GAN(**(fields | options))


def _image_gan(**options) -> gan.GAN:
    return _gan(generator=gan.DCGANGenerator((6,), (4, 4, 1)), num_classes=3, **options)


def _rbm(**options) -> boltzmann.RBM:
    fields = {"shape": (NUM_FEATURES,), "num_hidden": 4, "negative_phase": boltzmann.Persistent(4)}
    return boltzmann.RBM(**(fields | options))


def _belief_net() -> boltzmann.DeepBeliefNet:
    options = {"negative_phase": boltzmann.Persistent(4), "centred": False}
    return boltzmann.DeepBeliefNet(shape=(NUM_FEATURES,), num_hidden=(4, 3), **options)


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


def _gmmn() -> moment_matching.GMMN:
    return moment_matching.GMMN(
        latent_dim=3, generator=nets.MLP(features=(8, NUM_FEATURES)), bandwidths=(0.5, 1.0, 4.0), chunk_size=3
    )


def _latent_model() -> latent.LatentModel:
    prior = moment_matching.GMMN(latent_dim=3, generator=nets.MLP(features=(8, 2)), bandwidths=(0.5, 1.0))
    return latent.LatentModel(autoencoder=_vae(), prior=prior)


def _neural_spline_flow(**options) -> flow.Flow:
    return flow.neural_spline_flow(shape=(NUM_FEATURES,), num_layers=2, hidden=(8,), num_bins=4, **options)


def _glow() -> flow.Flow:
    return flow.glow(
        shape=(4, 4, 1),
        num_steps=2,
        features=4,
        preprocess_bijections=(flow.Logit(),),
        num_classes=3,
        backward="invert",
    )


def _ffjord() -> flow.FFJORD:
    net = nets.MLP((8,), activation=jnp.tanh)
    return flow.FFJORD(shape=(NUM_FEATURES,), net=net, kinetic_weight=0.1, jacobian_weight=0.1)


def _diffusion() -> diffusion.Diffusion:
    net = nets.DenoisingMLP((8, 8), embedding_features=8, fourier_features=4, output_scale=1.0)
    return diffusion.Diffusion(
        shape=(NUM_FEATURES,),
        net=net,
        process=diffusion.processes.EDM(),
        parametrization=diffusion.parametrizations.Preconditioned(),
        times=diffusion.times.LogNormal(),
        grid=diffusion.grids.Karras(),
        num_steps=3,
    )


def _conditional_diffusion() -> diffusion.Diffusion:
    net = nets.DenoisingMLP((8,), embedding_features=8, fourier_features=0, output_scale=1.0)
    return diffusion.Diffusion(
        shape=(4, 4, 1), net=net, num_classes=3, sampler=diffusion.samplers.Ancestral(), num_steps=3
    )


def real_batch(key: Array) -> Batch:
    """Vectors on the real line."""
    return {"x": _correlated(key)}


def grey_batch(key: Array) -> Batch:
    """Images of 4 by 4 pixels and one channel in (0, 1), with a label of three classes."""
    key_x, key_y = jax.random.split(key)
    x = jax.random.uniform(key_x, (NUM_EXAMPLES, 4, 4, 1))
    return {"x": x, "label": jax.random.randint(key_y, (NUM_EXAMPLES,), 0, 3)}


def byte_batch(key: Array) -> Batch:
    """Images of 4 by 4 pixels and one channel of 8 levels, with a label of three classes."""
    key_x, key_y = jax.random.split(key)
    x = jax.random.randint(key_x, (NUM_EXAMPLES, 4, 4, 1), 0, 8).astype(jnp.uint8)
    return {"x": x, "label": jax.random.randint(key_y, (NUM_EXAMPLES,), 0, 3)}


def level_batch(key: Array) -> Batch:
    """The same, as int32."""
    return jax.tree.map(lambda a: a.astype(jnp.int32), byte_batch(key))


def _dequantized() -> flow.VariationalDequantization:
    net = nets.ResidualCNN(features=4, num_blocks=0)
    checkerboard = {"transform": flow.Affine(), "net": net, "parts": "checkerboard"}
    board = (flow.Coupling(**checkerboard, flip=flip) for flip in (False, True))
    density = flow.real_nvp(
        shape=(4, 4, 1), num_layers=2, hidden=(8,), preprocess_bijections=(flow.Logit(),), num_classes=3
    )
    return flow.VariationalDequantization(flow=density, num_values=8, dequantizer=flow.Chain(tuple(board)))


def code_batch(key: Array) -> Batch:
    """Grids of two by three code indices of five codes, with a label of three classes."""
    key_x, key_y = jax.random.split(key)
    x = jax.random.randint(key_x, (NUM_EXAMPLES, 2, 3), 0, 5)
    return {"x": x, "label": jax.random.randint(key_y, (NUM_EXAMPLES,), 0, 3)}


def _pixels(make: Callable[..., autoregressive.CausalModel], **options: Any) -> autoregressive.CausalModel:
    return make(**{"shape": (4, 4, 1), "num_values": 8, "features": 4} | options)


def token_batch(key: Array) -> Batch:
    """Sequences of tokens 0 to 4."""
    return {"x": jax.random.randint(key, (NUM_EXAMPLES, 6), 0, 5)}


def _gpt(**options: Any) -> autoregressive.GPT:
    return autoregressive.GPT(num_values=5, length=6, num_layers=2, num_heads=2, features=8, **options)


def spoken_batch(key: Array) -> Batch:
    """The same with a label of three classes, and with two numbers for each half."""
    key_x, key_y, key_local = jax.random.split(key, 3)
    label = jax.random.randint(key_y, (NUM_EXAMPLES,), 0, 3)
    return {**token_batch(key_x), "label": label, "local": jax.random.normal(key_local, (NUM_EXAMPLES, 2, 2))}


def _wavenet(**options: Any) -> autoregressive.CausalModel:
    return autoregressive.wavenet(shape=(6,), num_values=5, num_layers=2, features=4, skip_features=4, **options)


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
    Case("avb", _avb, batch=image_batch),
    Case("avb_without_contrast", lambda: _avb(adaptive_contrast=False), batch=image_batch),
    Case("vq_vae", lambda: _vq_vae(restart_below=0.1), batch=image_batch, moves={"autoencoder": ("codebook",)}),
    Case("vq_vae_by_loss", lambda: _vq_vae(codebook="loss"), batch=image_batch),
    Case("factorized_categorical", lambda: vae.FactorizedCategorical(num_values=5), batch=code_batch),
    Case("gmmn", _gmmn, batch=unit_batch),
    Case("latent_model", _latent_model, batch=image_batch),
    Case("nice", lambda: flow.nice(shape=(4, 4, 1), num_layers=2, hidden=(8,)), batch=grey_batch),
    Case("real_nvp", lambda: flow.real_nvp(shape=(NUM_FEATURES,), num_layers=2, hidden=(8,)), batch=real_batch),
    Case(
        "maf",
        lambda: flow.masked_autoregressive_flow(shape=(NUM_FEATURES,), num_layers=2, hidden=(8,)),
        batch=real_batch,
    ),
    Case(
        "iaf",
        lambda: flow.inverse_autoregressive_flow(shape=(NUM_FEATURES,), num_layers=2, hidden=(8,)),
        batch=real_batch,
    ),
    Case("nsf_coupling", _neural_spline_flow, batch=real_batch),
    Case("nsf_autoregressive", lambda: _neural_spline_flow(kind="autoregressive"), batch=real_batch),
    Case("glow", _glow, batch=grey_batch, scale=2.0),  # ten times the logarithms of a matrix's diagonal are singular
    Case("ffjord", _ffjord, batch=real_batch),
    Case("variational_dequantization", _dequantized, batch=byte_batch),
    Case("made", lambda: autoregressive.MADE(shape=(2, 3), num_values=5, features=(8,)), batch=code_batch),
    Case(
        "made_of_several_orders",
        lambda: autoregressive.MADE(shape=(2, 3), features=(8,), num_values=5, orders=2, num_classes=3),
        batch=code_batch,
    ),
    Case("pixel_cnn", lambda: _pixels(autoregressive.pixel_cnn, num_layers=2), batch=level_batch),
    Case(
        "gated_pixel_cnn",
        lambda: _pixels(autoregressive.gated_pixel_cnn, num_layers=2, reach=1, num_classes=3, embedding_dim=3),
        batch=level_batch,
    ),
    Case(
        "pixel_cnn_pp",
        lambda: _pixels(autoregressive.pixel_cnn_pp, num_blocks=1, num_resolutions=2, num_components=2, num_classes=3),
        batch=level_batch,
    ),
    Case(
        "row_lstm",
        lambda: _pixels(autoregressive.pixel_rnn, kind="row", num_layers=1, head_features=4, num_classes=3),
        batch=level_batch,
    ),
    Case(
        "diagonal_bilstm",
        lambda: _pixels(autoregressive.pixel_rnn, kind="diagonal", num_layers=2, head_features=4, dropout=0.1),
        batch=level_batch,
    ),
    Case("gpt", lambda: _gpt(dropout=0.1), batch=token_batch),
    Case("gpt_modern", lambda: _gpt(positions="rotary", qk_norm=True, use_bias=False, stop_token=0), batch=token_batch),
    Case("wavenet", lambda: _wavenet(dropout=0.1), batch=token_batch),
    Case(
        "conditional_wavenet",
        lambda: _wavenet(num_classes=3, local_dim=2, num_components=2),
        batch=spoken_batch,
    ),
    Case(
        "gan",
        _gan,
        batch=unit_batch,
        moves={"discriminator": ("discriminator",), "generator": ("generator",)},
        schedule=("discriminator", "discriminator", "generator"),
    ),
    Case(
        "gan_with_penalties",
        lambda: _gan(
            discriminator=gan.MLPDiscriminator((8,), fourier_features=2),
            adversarial_loss=gan.LeastSquares(),
            penalties=(
                gan.AnnealedPenalty(penalty=gan.R1(weight=0.1, fake_weight=0.1), final_scale=0.1, num_steps=10),
                gan.GradientPenalty(weight=0.1, every=2),
            ),
            pack=2,
        ),
        batch=unit_batch,
        moves={"generator": ("generator",)},
    ),
    Case(
        "gan_with_auxiliary_classifier",
        lambda: _image_gan(
            discriminator=gan.DCGANDiscriminator((4, 4), num_outputs=4),
            augment=gan.DifferentiableAugmentation(),
            auxiliary_weight=1.0,
        ),
        batch=grey_batch,
        moves={"discriminator": ("discriminator",), "generator": ("generator",)},
    ),
    Case("diffusion", _diffusion, batch=real_batch),
    Case("conditional_diffusion", _conditional_diffusion, batch=grey_batch),
    Case("rbm", _rbm, batch=binary_batch, moves={"likelihood": ("negative_phase",)}),
    Case(
        "rbm_by_contrastive_divergence",
        lambda: _rbm(negative_phase=boltzmann.ContrastiveDivergence(2), centred=False, sparsity=0.2, weight_decay=1e-3),
        batch=binary_batch,
    ),
    Case(
        "rbm_of_gaussian_units",
        lambda: _rbm(negative_phase=boltzmann.FastWeights(4), units=boltzmann.GaussianUnits()),
        batch=real_batch,
        moves={"likelihood": ("negative_phase",)},
    ),
    Case(
        "rbm_of_softmax_units",
        lambda: _rbm(negative_phase=boltzmann.ParallelTempering(4, 3), units=boltzmann.SoftmaxUnits(3)),
        batch=integer_batch,
        moves={"likelihood": ("negative_phase",)},
    ),
    Case(
        "class_rbm",
        lambda: boltzmann.ClassRBM(
            shape=(4, 4, 1),
            num_classes=3,
            num_hidden=4,
            negative_phase=boltzmann.Persistent(4),
            discriminative_weight=0.5,
        ),
        batch=image_batch,
        moves={"likelihood": ("negative_phase",)},
    ),
    Case(
        "deep_boltzmann_machine",
        lambda: boltzmann.DeepBoltzmannMachine(
            shape=(NUM_FEATURES,), num_hidden=(4, 3), num_mean_field=3, negative_phase=boltzmann.Persistent(4)
        ),
        batch=binary_batch,
        moves={"likelihood": ("negative_phase",)},
    ),
    Case("deep_belief_net", _belief_net, batch=binary_batch, moves={"wake_sleep": ("negative_phase",)}),
    Case(
        "boltzmann_machine",
        lambda: boltzmann.BoltzmannMachine(shape=(NUM_FEATURES,), num_hidden=2, num_chains=4, num_steps=2),
        batch=binary_batch,
        moves={"likelihood": ("chains",)},
    ),
    Case(
        "exact_boltzmann_machine",
        lambda: boltzmann.BoltzmannMachine(shape=(NUM_FEATURES,), num_hidden=2, exact=True),
        batch=binary_batch,
    ),
)


def belief_net_stages() -> tuple[Stage, ...]:
    """Two layers, one after the other, and then the whole net up and down."""
    model = _belief_net()
    layers = [lambda _, layer=layer: gradient_learner(layer, optax.sgd(0.1)) for layer in model.layers]

    def whole(finished: Frozen) -> Learner:
        return gradient_learner(
            model, optax.sgd(0.1), init=lambda _key, _batch: model.assemble(latent.layer_variables(finished))
        )

    tuning = Stage(name="fine_tuning", learner=whole, steps=4)
    return (*latent.greedy_stages(model.layers, layers, (4, 4)), tuning)


PIPELINES = (Pipeline("belief_net", belief_net_stages, batch=binary_batch),)
