"""Deep belief net on dynamically binarized MNIST: greedy training of layers, then the up-down algorithm.

Command: genjax train experiments/dbn_mnist.py, then
genjax evaluate RUN --metrics log_prob_lower_bound --likelihood-samples 2000 --batch-size 10000
Reached: lower bound on the test log-likelihood -89.5 nats (all 10,000 images, standard error 0.24; -89.3 with another
seed of the evaluation), with the upper end of the 99 % interval of log Z, where its lowest layer alone, an RBM of 200
units, has -90.76 by annealed importance sampling (seed 0). Forward and backward estimates of log Z agree: 481.25
(481.05 to 481.44) and 481.27 (481.09 to 481.45), 200 particles each. Before fine-tuning the bound was 0.8 nats lower;
with 500 newly initialized units instead of 784 that start as the transposed lowest layer, -92.1, and -91.1 after
fine-tuning. 12 min 10 s beside other work on 2 CPU cores (AMD EPYC, jax 0.10.2). Layers of 500 and 2,000 units
(``--num_hidden 500 2000``) have not been run; they need an accelerator.
"""

import functools

import optax

from genjax import Experiment, Learner, Stage, boltzmann, data, gradient_learner, latent
from genjax.arguments import PositiveFloat
from genjax.learners import Frozen


def experiment(
    num_hidden: tuple[int, ...] = (200, 784),
    num_chains: int = 100,
    learning_rate: PositiveFloat = 0.05,
    tuning_rate: float = 0.005,
    ema_decay: float = 0.999,
    steps: int = 60_000,
    tuning_steps: int = 20_000,
    batch_size: int = 100,
) -> Experiment:
    """Describe the run.

    Args:
      num_hidden: number of units of each hidden layer, from the lowest.
      num_chains: number of persistent Markov chains of the negative phases.
      learning_rate: initial learning rate of stochastic gradient descent for each layer, which decays linearly to zero.
      tuning_rate: initial learning rate of joint fine-tuning, with the same schedule.
      ema_decay: decay of the parameters' exponential moving average, which later stages use and which is evaluated.
      steps: number of training steps of each layer.
      tuning_steps: number of joint fine-tuning steps.
      batch_size: number of examples in a minibatch.
    """
    model = boltzmann.DeepBeliefNet(
        shape=(28, 28, 1), num_hidden=num_hidden, negative_phase=boltzmann.Persistent(num_chains)
    )
    descent = lambda rate, count: optax.sgd(optax.linear_schedule(rate, 0.0, count))  # noqa: E731

    def layer(number: int, finished: Frozen) -> Learner:
        below = latent.layer_variables(finished)
        start = functools.partial(model.init_layer, below[-1], number=number) if below else None
        descend = descent(learning_rate, steps)
        return gradient_learner(model.layers[number], descend, ema_decay=ema_decay, init=start)

    def whole(finished: Frozen) -> Learner:
        start = model.assemble(latent.layer_variables(finished))
        return gradient_learner(
            model, descent(tuning_rate, tuning_steps), ema_decay=ema_decay, init=lambda _key, _batch: start
        )

    layers = [functools.partial(layer, number) for number in range(len(num_hidden))]
    tuning = Stage(name="fine_tuning", learner=whole, steps=tuning_steps)
    return Experiment(
        model=model,
        data=data.tfds("mnist", validation=1_000),
        preprocess=data.dynamic_binarization(levels=256),
        stages=(*latent.greedy_stages(model.layers, layers, [steps] * len(layers)), tuning),
        batch_size=batch_size,
        log_every=1_000,
        preview_kwargs={"mean": True},
    )
