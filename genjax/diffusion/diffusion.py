"""The diffusion model: a noise process, a denoiser and a sampler.

Data become noise by x_t = α x₀ + σ ε. A network learns to tell data from noise in x_t at any time, by the squared error
of one of them or of a linear combination q of both:

    min E_{x₀, ε, t} w(t) ‖q̂(x_t, t) − q(x₀, ε)‖².                                                               (1)

The minimizer is the mean of q given x_t. It determines the score of the density of x_t, and so every path from noise
back to data. A network conditioned on class labels or on texts is trained with and without them, so that samples can
be guided (``conditioning``, ``guidance``).

With self-conditioning, the network also receives an estimate of the data as further channels, q̂(x_t, x̃₀, t). Samplers
give it that of the step before, and 0 at the first. Training gives it 0, or in half of the batches its own,

    x̃₀ = sg(x̂₀(x_t, 0, t)).                                                                                      (2)

Jonathan Ho, Ajay Jain and Pieter Abbeel 2020, arXiv:2006.11239; Yang Song et al. 2021, arXiv:2011.13456; flow matching:
Yaron Lipman et al. 2023, arXiv:2210.02747; self-conditioning: Ting Chen, Ruixiang Zhang and Geoffrey Hinton 2023,
arXiv:2208.04202.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, final

import jax
import jax.numpy as jnp
from annotated_types import Interval

from genjax.arguments import Cure, ExampleShape, NumClasses, PositiveInt, check_arguments
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables, stream_key
from genjax.diffusion import likelihood
from genjax.diffusion.conditioning import PROMPT, complete, drop, from_batch, repeat_rows, text_conditions
from genjax.diffusion.grids import GRIDS, Grid, GridName, LogSNR, NumSteps, levels
from genjax.diffusion.guidance import (
    GuidanceWeight,
    Percentile,
    check_guidance,
    classifier_free_guidance,
    dynamic_thresholding,
)
from genjax.diffusion.imputation import ANCESTRAL, fill_unknown
from genjax.diffusion.loop import StepInfo, sample_loop
from genjax.diffusion.parametrizations import Parametrization, Prediction, Velocity, broadcast_level
from genjax.diffusion.processes import Cosine, Level, NoiseProcess, check_process, network_level
from genjax.diffusion.samplers import SAMPLERS, Denoise, DPMSolverPP, Heun, Sampler, SamplerName, SelfConditioned
from genjax.diffusion.score_matching import Denoising, ScoreMatching
from genjax.diffusion.times import TimeDistribution, UniformTimes, stratified
from genjax.diffusion.weightings import Output, Weighting
from genjax.nets import EncodesText, Net, NetSpec, apply_net, check_part, init_net
from genjax.ops import (
    Solver,
    at_least_float32,
    check_examples,
    known_values,
    mean_log_weight,
    resolve_choice,
)
from genjax.ops.couplings import Coupling, draw_noise

PART, TEXT_ENCODER = "denoiser", "text_encoder"
HEUN = Heun()


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """Diffusion model of real numbers of about unit size.

    Attributes:
      shape: shape of one example, without the batch axis.
      net: network of the denoiser. Its inputs are x (B, *shape) of unit variance, noise levels (B,) in [0, 1], where 0
        is data and 1 is noise, with classes a one-hot label (B, num_classes + 1), whose last entry is no label, and
        with texts a ``nets.Context`` (after None without classes). Its output is (B, *shape). With self-conditioning,
        input and output have twice as many channels, the last axis, and the second half of the output is not used.
      process: noise process.
      parametrization: what the network predicts.
      weighting: training loss of an example at a time.
      times: distribution of the times of training.
      score_matching: estimator of the denoiser's errors in training.
      coupling: rule that pairs noise with data in training; None for independent noise.
      sampler: default sampler.
      grid: default time grid of samplers.
      num_steps: default number of sampling steps.
      num_classes: number of classes, or None for an unconditional model. With classes, batches have ``"label"``, int32
        (B,).
      text_encoder: network that encodes texts, such as ``nets.TextEncoder``, or None for a model without texts. With
        it, batches have ``"prompt"``, int32 (B, length), padded tokens.
      train_text_encoder: whether training moves the text encoder; False for one that was trained before.
      condition_dropout: fraction of the training examples that lose their label and their prompt, in [0, 1].
      self_conditioning: whether the network receives the last estimate of the data. Training then takes about a sixth
        more time, a second evaluation without a gradient in half of the steps.

    >>> from genjax import nets
    >>> model = Diffusion(shape=(2,), net=nets.DenoisingMLP((16, 16)))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 2))})
    >>> model.sample(variables, jax.random.key(1), 7, num_steps=4).shape
    (7, 2)
    """

    shape: ExampleShape
    net: Net
    process: NoiseProcess = field(default_factory=Cosine)
    parametrization: Parametrization = field(default_factory=Velocity)
    weighting: Weighting = field(default_factory=Output)
    times: TimeDistribution = field(default_factory=UniformTimes)
    score_matching: ScoreMatching = field(default_factory=Denoising)
    coupling: Coupling | None = None
    sampler: Sampler = field(default_factory=DPMSolverPP)
    grid: Grid = field(default_factory=LogSNR)
    num_steps: PositiveInt = 50
    num_classes: NumClasses | None = None
    text_encoder: EncodesText | None = None
    train_text_encoder: bool = True
    condition_dropout: Annotated[float, Interval(ge=0, le=1), Cure("; 0.1 is usual")] = 0.1
    self_conditioning: bool = False
    discrete = False  # likelihoods are densities

    def __post_init__(self) -> None:
        check_process(self.process)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The label, if the model has classes, and the prompts, if it has a text encoder; all may be left out."""
        return (*label_condition(self.num_classes, optional=True), *text_conditions(self.text_encoder))

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for data like ``batch["x"]``.

        Raises:
          ValueError: if the data have another shape, are integers or contain NaN, or the network does not fit them.
        """
        x, condition = check_examples(batch["x"], self.shape), from_batch(self._batch_conditions, batch)
        params, state = {}, {}
        if self.text_encoder is not None:
            text_key = stream_key(key, TEXT_ENCODER)
            params[TEXT_ENCODER], state[TEXT_ENCODER] = init_net(self.text_encoder, text_key, condition[PROMPT])
        embedding = self.embed(Variables(params, state), condition)
        arguments = self._arguments(x, jnp.zeros(x.shape[0], x.dtype), embedding)
        why = "matching x and its estimate" if self.self_conditioning else "matching x"
        check_part("net", NetSpec(self.net, arguments, arguments[0].shape, why), key)
        params[PART], state[PART] = init_net(self.net, key, *arguments)
        return Variables(params, state)

    def objectives(self) -> tuple[Objective, ...]:
        """Return the only loss."""
        trained = (PART, TEXT_ENCODER) if self.text_encoder is not None and self.train_text_encoder else (PART,)
        return (Objective(name="denoising", wrt=trained, loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return equation 1, averaged over the batch, with one time for each example.

        A batch may contain ``"noise"`` in the shape of ``"x"``, such as the pairs of ``reflow_pairs``, and ``"time"``
        (B,), such as the targets of ``distillation_targets``, whose conditions have been dropped already. The metric
        ``output_error`` is the unweighted mean squared error of the network's output.
        """
        del step
        *keys, dropout_key, direction_key = jax.random.split(key, 5)
        truth, t, condition = self.noise_batch(keys, batch, self.times)
        variables = Variables(params, state)
        embedding = self.embed(variables, condition, dropout_key, train=True)

        def network(x: Array) -> tuple[Array, PyTree]:
            known = embedding
            if self.self_conditioning:
                known = self._with_own_estimate(variables, stream_key(key, "estimate"), x, t, embedding)
            return self.network_output(variables, x, t, known, dropout_key, train=True)

        estimate = self.score_matching.errors
        errors, new_state = estimate(self.process, self.parametrization, network, direction_key, t, truth)
        loss = jnp.mean(self.weighting(self.process, t, errors))  # equation 1
        return loss, (state | {PART: new_state}, {"output_error": jnp.mean(errors.output) / errors.size})

    def predict(self, variables: Variables, x: Array, t: Array, **condition: Any) -> Prediction:
        """Return the denoiser's estimates of the data and the noise in x_t, (B, *shape), at times () or (B,).

        ``condition`` holds the model's conditions by name: ``label``, ``prompt``. One that is left out, or None, stands
        for no condition.
        """
        return self.denoiser(variables, **condition)(x, t)

    def predict_embedded(self, variables: Variables, x: Array, t: Array, embedding: PyTree) -> Prediction:
        """Return the estimates given embedded conditions, null ones included; see ``predict`` and ``embed``."""
        output, _ = self.network_output(variables, x, t, embedding)
        return self.parametrization.predict(self.process, t, x, output)

    def score(self, variables: Variables, x: Array, t: Array, **condition: Any) -> Array:
        """Return the score ∇ log q(x_t), (B, *shape); see ``predict``."""
        return -self.predict(variables, x, t, **condition).noise / broadcast_level(self.process, t, x).sigma

    def denoiser(
        self,
        variables: Variables,
        *,
        guidance: GuidanceWeight = 1.0,
        guidance_interval: tuple[float, float] | None = None,
        threshold: Percentile | None = None,
        negative_prompt: Array | None = None,
        **condition: Any,
    ) -> Denoise:
        """Return the denoiser as a function of x_t and t, with guidance; see ``genjax.diffusion.guidance``.

        Arguments are those of ``sample``. Raises ValueError if the model cannot apply the guidance.
        """
        condition = {name: value for name, value in condition.items() if value is not None}
        check_guidance(guidance, guidance_interval, condition, negative_prompt, self.condition_dropout)
        embedding = self.embed(variables, self._complete(condition))
        conditional = functools.partial(self.predict_embedded, variables)
        is_active = None if guidance_interval is None else functools.partial(self._is_within, guidance_interval)
        without = None
        if guidance != 1.0:
            null = self._complete({} if negative_prompt is None else {PROMPT: negative_prompt})
            without = self.embed(variables, null)

        def given(estimate: Array | None) -> Denoise:
            known = with_estimate(embedding, estimate)
            if without is None:
                denoise: Denoise = functools.partial(conditional, embedding=known)
            else:
                unknown = with_estimate(without, estimate)
                denoise = classifier_free_guidance(conditional, known, unknown, guidance, is_active)
            return denoise if threshold is None else dynamic_thresholding(denoise, self.process, threshold)

        return SelfConditioned(given) if self.self_conditioning else given(None)

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        num_steps: NumSteps | None = None,
        guidance: GuidanceWeight = 1.0,
        guidance_interval: tuple[float, float] | None = None,
        threshold: Percentile | None = None,
        sampler: SamplerName | Sampler | None = None,
        grid: GridName | Grid | None = None,
        **condition: Any,
    ) -> Array:
        """Draw from the model, (N, *shape).

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: number of samples, N.
          num_steps: number of steps; None for the model's own.
          guidance: weight of classifier-free guidance, at least 0; 1 is no guidance, 0 ignores the condition.
          guidance_interval: smallest and largest noise level in [0, 1] with guidance; None for all levels.
          threshold: percentile of dynamic thresholding, such as 99.5, for data in [-1, 1]; None for no thresholding.
          sampler: sampler or its name in ``diffusion.samplers.SAMPLERS``; None for the model's own.
          grid: time grid or its name in ``diffusion.grids.GRIDS``; None for the model's own.
          condition: conditions of the model by name, each for all samples or with a row for each; one that is left out,
            or None, is free. ``label``: a class, or int32 (N,), for models with classes. ``prompt``: tokens, int32
            (length,) or (N, length), for models with a text encoder; ``negative_prompt``: likewise, a text that guided
            samples move away from.

        Raises:
          ValueError: if there is no sampler or grid of this name, the model has no such condition, or it cannot apply
            the guidance.
        """
        settings: dict[str, Any] = {"num_steps": num_steps, "sampler": sampler, "grid": grid, **condition}
        settings |= {"guidance": guidance, "guidance_interval": guidance_interval, "threshold": threshold}
        return self.sample_trajectory(variables, key, num_samples, observe=None, **settings)[0]

    def sample_trajectory(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        observe: Callable[[StepInfo], PyTree] | None = lambda info: info.data,
        num_steps: NumSteps | None = None,
        sampler: SamplerName | Sampler | None = None,
        grid: GridName | Grid | None = None,
        **guidance: Any,
    ) -> tuple[Array, PyTree]:
        """Draw samples (N, *shape) and record ``observe`` at every step, by default x̂₀, (num_steps, ...).

        See ``sample`` and ``sample_loop``.
        """
        noise_key, loop_key = jax.random.split(key)
        denoise = self.denoiser(variables, **guidance)
        levels = self.levels(num_steps, grid)
        x = levels.sigma[0] * jax.random.normal(noise_key, (num_samples, *self.shape))
        sampler = resolve_choice("sampler", sampler, SAMPLERS, self.sampler)
        return sample_loop(sampler, self.process, denoise, levels, loop_key, x, observe=observe)

    def impute(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        mask: Array,
        *,
        num_resamplings: PositiveInt = 10,
        num_steps: NumSteps | None = None,
        sampler: SamplerName | Sampler | None = None,
        grid: GridName | Grid | None = None,
        **guidance: Any,
    ) -> Array:
        """Draw the unknown part of x (B, *shape) given the known part; ``diffusion.imputation`` explains how.

        ``mask``, bool, is True where x is known, and broadcastable to x, such as (H, W, 1) for images. Unknown values
        of x may be anything, NaN included. Each step but the last is taken ``num_resamplings`` times. The sampler is by
        default ``Ancestral()``; multistep samplers need ``num_resamplings=1``. Other arguments are those of ``sample``.

        Raises:
          ValueError: if the mask has another shape or dtype, or the sampler cannot repeat its steps.
        """
        x, mask = known_values(x, mask, self.shape)
        x, denoise = check_examples(x, self.shape), self.denoiser(variables, **guidance)
        chosen: Sampler = resolve_choice("sampler", sampler, SAMPLERS, ANCESTRAL)
        levels = self.levels(num_steps, grid)
        return fill_unknown(chosen, self.process, denoise, levels, key, x, mask, num_resamplings)

    def log_prob_lower_bound(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: PositiveInt = 8,
        *,
        num_steps: NumSteps | None = None,
        **condition: Any,
    ) -> Array:
        """Return an unbiased estimate of the variational bound on log p(x), nats, (B,); see ``diffusion.likelihood``.

        It is the mean over ``num_samples`` draws of a level per example. ``num_steps`` is the number of steps of
        ancestral sampling on the model's grid; None stands for infinitely many.
        """
        levels = None if num_steps is None else self.levels(num_steps)
        x, predict = check_examples(x, self.shape), self.denoiser(variables, **condition)
        return likelihood.variational_bound(self.process, predict, key, x, num_samples, levels)

    def log_prob_estimate(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: PositiveInt,
        *,
        solver: Solver | None = None,
        trace: Literal["hutchinson", "exact"] | None = None,
        **condition: Any,
    ) -> Array:
        """Return an estimate of log p(x) along the probability flow, nats, (B,); see ``genjax.diffusion.likelihood``.

        It is unbiased up to the solver's tolerance, and NaN if the solver runs out of steps. The trace is estimated
        along ``num_samples`` random directions per example, or computed exactly, with one Jacobian–vector product per
        element of an example; ``trace=None`` computes it exactly if an example has at most ``num_samples`` elements.
        ``solver=None`` stands for ``Solver()``.
        """
        x, predict = check_examples(x, self.shape), self.denoiser(variables, **condition)
        if trace == "exact" or (trace is None and x[0].size <= num_samples):
            return likelihood.flow_log_prob(self.process, predict, solver or Solver(), x, None)[:, 0]

        def log_probs(keys: Array) -> Array:
            directions = jax.vmap(lambda key: jax.random.rademacher(key, x.shape, x.dtype))(keys)
            return likelihood.flow_log_prob(self.process, predict, solver or Solver(), x, directions).T

        return mean_log_weight(log_probs, key, num_samples)

    def encode(
        self,
        variables: Variables,
        x: Array,
        *,
        num_steps: NumSteps | None = None,
        sampler: Sampler = HEUN,
        **condition: Any,
    ) -> Array:
        """Return the unit-variance noise (B, *shape) that data come from, by a deterministic sampler run backwards.

        ``decode`` inverts it up to discretization errors: O(1/N²) in the number of steps N for Heun's method, O(1/N)
        for ``DDIM()``, the common DDIM inversion.
        """
        levels = jax.tree.map(lambda a: a[::-1], self.levels(num_steps, to_data=False))
        x = levels.alpha[0] * check_examples(x, self.shape)
        denoise, unused_key = self.denoiser(variables, **condition), jax.random.key(0)
        return sample_loop(sampler, self.process, denoise, levels, unused_key, x)[0] / levels.sigma[-1]

    def decode(
        self,
        variables: Variables,
        latent: Array,
        *,
        num_steps: NumSteps | None = None,
        sampler: Sampler = HEUN,
        **condition: Any,
    ) -> Array:
        """Return the data of unit-variance noise (B, *shape); see ``encode``."""
        levels = self.levels(num_steps)
        x = levels.sigma[0] * check_examples(latent, self.shape)
        denoise, unused_key = self.denoiser(variables, **condition), jax.random.key(0)
        return sample_loop(sampler, self.process, denoise, levels, unused_key, x)[0]

    def levels(
        self, num_steps: NumSteps | None = None, grid: GridName | Grid | None = None, *, to_data: bool = True
    ) -> Level:
        """Return the noise levels of a grid; the number of steps and the grid are by default the model's own."""
        grid = resolve_choice("grid", grid, GRIDS, self.grid)
        return levels(self.process, grid, self.num_steps if num_steps is None else num_steps, to_data=to_data)

    def noise_level(self, t: Array) -> Array:
        """Return the noise level that the network receives, from 0 for data to 1 for noise, linear in the log-SNR."""
        return network_level(self.process.log_snr(t))

    def noise_batch(
        self, keys: Sequence[Array], batch: Batch, times: TimeDistribution
    ) -> tuple[Prediction, Array, dict[str, Array]]:
        """Return data, noise, times (B,) and conditions of a batch of training, from three keys; see ``loss``."""
        time_key, noise_key, condition_key = keys
        x = check_examples(batch["x"], self.shape)
        truth = Prediction(x, batch["noise"] if "noise" in batch else draw_noise(self.coupling, noise_key, x))
        if "time" in batch:
            return truth, batch["time"], from_batch(self._batch_conditions, batch)
        t = times.quantile(self.process, stratified(time_key, x.shape[0]))
        return truth, t, self.training_condition(condition_key, batch)

    def training_condition(self, key: Array, batch: Batch) -> dict[str, Array]:
        """Return the conditions of a batch, a fraction ``condition_dropout`` of them null; int32 (B, ...) each."""
        condition = from_batch(self._batch_conditions, batch)
        return drop(key, self._batch_conditions, condition, self.condition_dropout)

    def embed(
        self,
        variables: Variables,
        condition: Mapping[str, Array],
        dropout_key: Array | None = None,
        train: bool = False,
    ) -> tuple[PyTree, ...]:
        """Return the network's further arguments for all conditions: a one-hot label, the context of a text.

        With self-conditioning, the first is an estimate of the data, here 0; see ``with_estimate``.
        """
        estimate = (jnp.zeros((1, *self.shape)),) if self.self_conditioning else ()
        label = None if self.num_classes is None else jax.nn.one_hot(condition["label"], self.num_classes + 1)
        if self.text_encoder is None:
            return estimate if label is None else (*estimate, label)
        params, state = variables.params[TEXT_ENCODER], variables.state[TEXT_ENCODER]
        key = None if dropout_key is None else stream_key(dropout_key, TEXT_ENCODER)
        context, _ = apply_net(self.text_encoder, params, state, condition[PROMPT], key=key, train=train)
        return (*estimate, label, context)

    def network_output(
        self,
        variables: Variables,
        x: Array,
        t: Array,
        embedding: PyTree,
        dropout_key: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        """Return the network's output (B, *shape) at x_t, at least float32, and its new state; see ``embed``."""
        scaled = self.parametrization.input_scale(broadcast_level(self.process, t, x)) * x
        arguments = self._arguments(scaled, jnp.broadcast_to(self.noise_level(t), (x.shape[0],)), embedding)
        params, state = variables.params[PART], variables.state[PART]
        output, new_state = apply_net(self.net, params, state, *arguments, key=dropout_key, train=train)
        if self.self_conditioning:
            output = output[..., : self.shape[-1]]
        return at_least_float32(output), new_state

    def _arguments(self, x: Array, noise_level: Array, embedding: PyTree) -> tuple[PyTree, ...]:
        """Return the network's inputs."""
        embedding = repeat_rows(embedding, x.shape[0])
        if self.self_conditioning:
            estimate, *embedding = embedding
            x = jnp.concatenate([x, estimate.astype(x.dtype)], axis=-1)
        return (x, noise_level, *embedding)

    def _with_own_estimate(self, variables: Variables, key: Array, x: Array, t: Array, embedding: PyTree) -> PyTree:
        """Return the embedding with the estimate of equation 2, or for half of the keys with 0."""
        fixed = jax.lax.stop_gradient((variables, x, t, embedding))
        is_own = jax.random.bernoulli(key)
        estimate = jax.lax.cond(is_own, lambda: self.predict_embedded(*fixed).data, lambda: jnp.zeros_like(x))
        return with_estimate(embedding, estimate)  # equation 2

    def _is_within(self, interval: tuple[float, float], t: Array) -> Array:
        return (self.noise_level(t) >= interval[0]) & (self.noise_level(t) <= interval[1])

    @property
    def _batch_conditions(self) -> tuple[Condition, ...]:
        return tuple(condition for condition in self.conditions if condition.in_batch)

    def _complete(self, condition: Mapping[str, Array | int | None]) -> dict[str, Array]:
        return complete(self._batch_conditions, condition)


def with_estimate(embedding: PyTree, estimate: Array | None) -> PyTree:
    """Return an embedding of a model with self-conditioning with another estimate of the data; None changes nothing."""
    return embedding if estimate is None else (estimate, *embedding[1:])
