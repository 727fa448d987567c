"""Sample scores: logged at every evaluation, and the best checkpoint is kept, whether higher or lower is better."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import autoregressive, data, gan, metrics, nets
from genjax.core import Variables
from genjax.evaluation.context import Evaluation
from genjax.evaluation.samples import draw_samples, example_conditions
from genjax.runner import Experiment, SampleScore, frechet_score, load_run, modes_score, train
from genjax.runner.log import read_rows
from tests.networks import Function

X = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
MODEL = gan.GAN(latent_dim=2, generator=nets.MLP((4, 2)), discriminator=nets.MLP((4, 1)))


def experiment(score, model=MODEL, dataset=None):
    return Experiment(
        model=model,
        data=data.arrays(X) if dataset is None else dataset,
        optimizer=optax.adam(1e-2),
        steps=4,
        batch_size=16,
        log_every=1,
        evaluate_every=1,
        checkpoint_every=1,
        keep_checkpoints=1,
        sample_score=score,
    )


def spread(x):
    """Scores that change during training."""
    return {"spread": jnp.std(x), "mean": jnp.mean(x)}


def test_samples_of_a_diverged_model_of_tokens_are_refused():
    model = autoregressive.MADE(shape=(3,), num_values=4, features=(4,))
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((1, 3), jnp.int32)})
    diverged = jax.tree.map(lambda a: jnp.full_like(a, jnp.inf), variables)
    with pytest.raises(FloatingPointError, match="the logits of this MADE are NaN or infinite, because its training"):
        draw_samples(model, diverged, jax.random.key(1), 5)


@pytest.mark.parametrize(("lower", "choose", "seeds"), [(False, max, 1), (True, min, 2)])
def test_the_best_checkpoint_stays_beside_the_last(tmp_path, lower, choose, seeds):
    score = SampleScore(name="spread", score=spread, num_samples=50, higher_is_better=not lower)
    config = experiment(score)
    run = train(config, workdir=tmp_path / "run", progress=False, seed=3, seeds=seeds)
    scores = {row["step"]: row["samples/spread"] for row in read_rows(tmp_path / "run") if "samples/spread" in row}
    assert sorted(scores) == list(range(1, 5))
    assert any("samples/mean" in row for row in read_rows(tmp_path / "run"))
    best = choose(scores, key=lambda step: scores[step])
    assert load_run(tmp_path / "run", checkpoint="best", experiment=config).step == best
    assert load_run(tmp_path / "run", experiment=config).step == run.step == 4
    with pytest.raises(Exception, match="there is no checkpoint of step"):
        load_run(tmp_path / "run", checkpoint=next(s for s in scores if s not in (best, 4)), experiment=config)


def test_all_steps_and_models_draw_with_the_same_key_and_all_classes_in_turn():
    batches = []

    class Echo:
        """A generator that returns noise and label."""

        def init(self, key, z, condition):
            return {"params": jnp.zeros(())}

        def apply(self, variables, z, condition):
            return jnp.concatenate([z[:, :1], jnp.argmax(condition, axis=-1)[:, None]], axis=-1)

        def __eq__(self, other):
            return isinstance(other, Echo)

        def __hash__(self):
            return 0

    model = gan.GAN(latent_dim=2, generator=Echo(), discriminator=nets.MLP((1,)), num_classes=3)
    variables = model.init(jax.random.key(0), {"x": jnp.asarray(X), "label": jnp.zeros(64, jnp.int32)})
    score = SampleScore(name="none", score=lambda x: batches.append(np.asarray(x)) or {"none": 0.0}, num_samples=7)
    for _ in range(2):
        assert score.evaluate(model, variables, jax.random.key(1), data.arrays(X)) == {"samples/none": 0}
    np.testing.assert_array_equal(batches[0], batches[1])
    np.testing.assert_array_equal(batches[0][:, 1], [0, 1, 2, 0, 1, 2, 0])


def test_the_frechet_distance_is_that_of_the_features():
    source = data.arrays(X).splits["train"]
    score = frechet_score("pixels", source, num_samples=500, display=lambda x: x + 1)
    samples = jax.random.normal(jax.random.key(0), (500, 2))
    expected = metrics.frechet_distance(X, np.asarray(samples) + 1)["frechet_distance"]
    assert float(score.score(samples)["frechet_distance"]) == pytest.approx(float(expected), rel=1e-5)
    assert not score.higher_is_better
    assert score.label == "samples/frechet_distance"


def test_pixels_of_integers_are_not_compared_with_real_numbers():
    digits = data.digits().splits["validation"]
    x = digits.take(np.arange(len(digits)))["x"]
    score = frechet_score("pixels", digits)
    assert float(score.score(jnp.asarray(x, jnp.int32))["frechet_distance"]) < 1e-2
    with pytest.raises(ValueError, match="samples are float32 and the source is uint8, but pixels need one scale"):
        frechet_score("pixels", digits, display=lambda x: x / 16).score(jnp.asarray(x))


def test_a_score_needs_samples_and_the_number_that_decides():
    variables = MODEL.init(jax.random.key(0), {"x": jnp.asarray(X)})
    with pytest.raises(ValueError, match=r"named 'width' returns \['mean', 'spread'\]"):
        SampleScore(name="width", score=spread).evaluate(MODEL, variables, jax.random.key(1), data.arrays(X))
    with pytest.raises(ValueError, match="num_samples is 0"):
        SampleScore(name="spread", score=spread, num_samples=0)


def test_modes_are_counted_by_class_in_each_channel():
    """Real digits, which the classifier recognizes: all 16 pairs of the classes 0 to 3."""
    digits = data.digits().splits["train"]
    examples = digits.take(np.arange(len(digits)))
    firsts = [examples["x"][examples["label"] == label][0] / 16 for label in range(4)]
    stacks = np.stack([np.concatenate([a, b], axis=-1) for a in firsts for b in firsts])
    score = modes_score("classifier:digits", num_channels=2, num_samples=16, display=lambda x: x - 1)
    scores = score.score(jnp.asarray(stacks, jnp.float32) + 1)
    assert int(scores["modes_captured"]) == 16
    assert float(scores["kl_to_uniform"]) == pytest.approx(np.log(100 / 16), rel=1e-5)


def test_images_that_a_model_is_conditioned_on_are_preprocessed():
    """A model that copies its source shows what arrives."""
    y = np.random.default_rng(0).integers(0, 256, (24, 4, 4, 1)).astype(np.uint8)
    copy = Function(lambda params, y: y)
    model = gan.Pix2Pix(generator=copy, discriminator=None, source_channels=1)
    preprocess = data.chain(data.scale(), data.scale(entry="y"))
    dataset, variables = data.paired(y, y, test=8), Variables({"generator": {}}, {"generator": {}})
    arrived = example_conditions(model, dataset, 5, preprocess)["y"]
    assert (arrived.shape, arrived.dtype) == ((5, 4, 4, 1), np.float32)
    score = SampleScore(name="mean", score=lambda x: {"mean": jnp.mean(x)}, num_samples=16)
    values = score.evaluate(model, variables, jax.random.key(0), dataset, preprocess)
    assert float(values["samples/mean"]) == pytest.approx(y[:16].mean() / 255, rel=1e-5)
    evaluation = Evaluation(
        model=model, variables=variables, dataset=dataset, key=jax.random.key(0), preprocess=preprocess, num_samples=8
    )
    samples = np.concatenate(list(evaluation.samples(0)))
    np.testing.assert_allclose(np.sort(samples.ravel()), np.sort(y[16:].ravel() / np.float32(255)), atol=1e-6)
