"""Metrics over arrays: pure functions, streaming metrics, and results that carry their protocol.

A comparison of two samples is a function of two arrays, such as ``frechet_distance(reference, generated)``. A streaming
metric has ``init``, ``update``, ``merge`` and ``compute``. ``compare`` runs several comparisons on one pair of feature
arrays and returns results with their protocols; ``python -m genjax.metrics REAL.npz GENERATED.npz`` does so for samples
from any tool.

The same names mean the same in every comparison, which describes only what is special to it:

* ``key``: a typed key.
* ``reference``, ``generated``: data and samples, or features of both, shapes (N, D) and (M, D); further axes are
  flattened.
* ``chunk_size``: number of rows whose values for all columns are in memory at once.
* ``progress``: called with the number of rows just finished.

Values are float32 scalars by name; ``NAME_standard_error`` is the standard error of ``NAME``. A comparison raises
``ValueError`` if either sample has too few rows, numbers of features differ, values are not finite, or ``chunk_size``
is below 1.
"""

from genjax.metrics.bins import different_bins as different_bins
from genjax.metrics.classification import label_log_posterior as label_log_posterior
from genjax.metrics.classification import label_posterior_unavailable_reason as label_posterior_unavailable_reason
from genjax.metrics.classification import label_scores as label_scores
from genjax.metrics.classifier_test import classifier_two_sample_test as classifier_two_sample_test
from genjax.metrics.compare import COMPARISONS as COMPARISONS
from genjax.metrics.compare import Comparison as Comparison
from genjax.metrics.compare import compare as compare
from genjax.metrics.detection import auroc as auroc
from genjax.metrics.detection import compressed_length as compressed_length
from genjax.metrics.detection import detection_metrics as detection_metrics
from genjax.metrics.detection import input_complexity_score as input_complexity_score
from genjax.metrics.detection import likelihood_ratio_score as likelihood_ratio_score
from genjax.metrics.detection import likelihood_score as likelihood_score
from genjax.metrics.detection import typicality_score as typicality_score
from genjax.metrics.features import FeatureNetwork as FeatureNetwork
from genjax.metrics.features import Outputs as Outputs
from genjax.metrics.features import Recipe as Recipe
from genjax.metrics.features import classifier as classifier
from genjax.metrics.features import extract as extract
from genjax.metrics.features import feature_network as feature_network
from genjax.metrics.features import inception as inception
from genjax.metrics.features import pixels as pixels
from genjax.metrics.frechet import Moments as Moments
from genjax.metrics.frechet import MomentsState as MomentsState
from genjax.metrics.frechet import frechet_distance as frechet_distance
from genjax.metrics.frechet import frechet_distance_from_moments as frechet_distance_from_moments
from genjax.metrics.frechet import frechet_metric as frechet_metric
from genjax.metrics.frechet import moments as moments
from genjax.metrics.frechet import moments_from_statistics as moments_from_statistics
from genjax.metrics.inception_score import InceptionScore as InceptionScore
from genjax.metrics.inception_score import inception_score as inception_score
from genjax.metrics.kernels import kernel_distance as kernel_distance
from genjax.metrics.kernels import kernel_distance_subsets as kernel_distance_subsets
from genjax.metrics.kernels import mmd_squared as mmd_squared
from genjax.metrics.latents import codebook_usage as codebook_usage
from genjax.metrics.latents import gaussian_usage as gaussian_usage
from genjax.metrics.latents import implicit_usage as implicit_usage
from genjax.metrics.likelihood import LikelihoodUnits as LikelihoodUnits
from genjax.metrics.likelihood import bits_per_character as bits_per_character
from genjax.metrics.likelihood import bits_per_dim as bits_per_dim
from genjax.metrics.likelihood import likelihood_units as likelihood_units
from genjax.metrics.likelihood import perplexity as perplexity
from genjax.metrics.memorization import data_copying as data_copying
from genjax.metrics.memorization import nearest_neighbours as nearest_neighbours
from genjax.metrics.metric import Accumulator as Accumulator
from genjax.metrics.metric import Mean as Mean
from genjax.metrics.metric import Metric as Metric
from genjax.metrics.metric import Samples as Samples
from genjax.metrics.metric import TwoSample as TwoSample
from genjax.metrics.modes import GaussianModes as GaussianModes
from genjax.metrics.modes import StackedModes as StackedModes
from genjax.metrics.modes import channel_classes as channel_classes
from genjax.metrics.molecules import canonical_smiles as canonical_smiles
from genjax.metrics.molecules import molecule_statistics as molecule_statistics
from genjax.metrics.molecules import rdkit_version as rdkit_version
from genjax.metrics.neighbours import neighbour_radii as neighbour_radii
from genjax.metrics.neighbours import precision_recall_density_coverage as precision_recall_density_coverage
from genjax.metrics.parzen import parzen_bandwidth as parzen_bandwidth
from genjax.metrics.parzen import parzen_bandwidth_search as parzen_bandwidth_search
from genjax.metrics.parzen import parzen_log_likelihood as parzen_log_likelihood
from genjax.metrics.reconstruction import SSIM_WINDOW as SSIM_WINDOW
from genjax.metrics.reconstruction import Reconstruction as Reconstruction
from genjax.metrics.reconstruction import mse as mse
from genjax.metrics.reconstruction import psnr as psnr
from genjax.metrics.reconstruction import ssim as ssim
from genjax.metrics.result import Result as Result
from genjax.metrics.result import mean_over_replicas as mean_over_replicas
from genjax.metrics.result import table as table
from genjax.metrics.result import unavailable as unavailable
from genjax.metrics.sliced import sliced_wasserstein as sliced_wasserstein
from genjax.metrics.two_sample import mmd_test as mmd_test
