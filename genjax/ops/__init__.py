"""Mathematics on arrays shared by all families: likelihoods, divergences, kernels, differential equations."""

from genjax.ops.adversarial import discriminator_accuracy, logistic_fake_loss, logistic_real_loss
from genjax.ops.arrays import at_least_float32, sum_except_batch
from genjax.ops.attention import causal_attention
from genjax.ops.convolution import conv_general_dilated
from genjax.ops.divergence import Divergence, divergence
from genjax.ops.gaussians import gaussian_kl, gaussian_log_prob
from genjax.ops.importance import log_mean_weight, mean_log_weight
from genjax.ops.labels import condition_inputs, label_of, one_hot_label
from genjax.ops.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, Likelihood
from genjax.ops.ode import Rates, Solver
from genjax.ops.paths import linear_path, spherical_path
from genjax.ops.pixels import Categorical, LogisticMixture, PixelDistribution, log_mass
from genjax.ops.priors import GaussianMixture, Prior, StandardNormal, SwissRoll
from genjax.ops.straight_through import clip_straight_through, straight_through
from genjax.ops.temperature import tempered_logits, tempered_softmax
from genjax.ops.transport import sinkhorn
from genjax.ops.validation import (
    check_at_least,
    check_choice,
    check_data_axes,
    check_dropout,
    check_example_shape,
    check_examples,
    check_finite,
    check_num_classes,
    check_positive,
    check_shape,
    check_sizes,
    check_values,
)

__all__ = [
    "Bernoulli",
    "Categorical",
    "DiscretizedLogistic",
    "Divergence",
    "Gaussian",
    "GaussianMixture",
    "Likelihood",
    "LogisticMixture",
    "PixelDistribution",
    "Prior",
    "Rates",
    "Solver",
    "StandardNormal",
    "SwissRoll",
    "at_least_float32",
    "causal_attention",
    "check_at_least",
    "check_choice",
    "check_data_axes",
    "check_dropout",
    "check_example_shape",
    "check_examples",
    "check_finite",
    "check_num_classes",
    "check_positive",
    "check_shape",
    "check_sizes",
    "check_values",
    "clip_straight_through",
    "condition_inputs",
    "conv_general_dilated",
    "discriminator_accuracy",
    "divergence",
    "gaussian_kl",
    "gaussian_log_prob",
    "label_of",
    "linear_path",
    "log_mass",
    "log_mean_weight",
    "logistic_fake_loss",
    "logistic_real_loss",
    "mean_log_weight",
    "one_hot_label",
    "sinkhorn",
    "spherical_path",
    "straight_through",
    "sum_except_batch",
    "tempered_logits",
    "tempered_softmax",
]
