"""Labels and texts as conditions of a denoiser: what reaches its network, what training drops, and guidance by text."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import diffusion, nets
from genjax.capabilities import Condition
from genjax.diffusion.conditioning import complete, drop, from_batch, null_value, repeat_rows

LABEL = Condition(name="label", kind="label", num_values=3, optional=True)
TEXT = Condition(name="prompt", kind="tokens", shape=(4,), num_values=7, optional=True, pad_token=6)
PROMPT, NEGATIVE = jnp.array([1, 2, 0]), jnp.array([3, 0, 0])


@dataclasses.dataclass(frozen=True)
class MeanNet:
    """A network whose output is x times a level, plus the mean of the words that are there: linear in the context."""

    def init(self, key, x, level, label, context):
        del key, x, level, label, context
        return {"params": {"scale": jnp.ones(())}}

    def apply(self, variables, x, level, label, context):
        del label
        mask = context.mask[..., None]
        mean = jnp.sum(jnp.where(mask, context.vectors, 0), axis=1) / jnp.sum(mask, axis=1)
        return variables["params"]["scale"] * x * level[:, None] + mean


@pytest.fixture(scope="module")
def model():
    encoder = nets.TextEncoder(num_tokens=5, length=3, features=2, num_layers=1, num_heads=1)
    return diffusion.Diffusion(shape=(2,), net=MeanNet(), text_encoder=encoder, num_steps=3)


@pytest.fixture(scope="module")
def variables(model):
    return model.init(jax.random.key(0), {"x": jnp.zeros((2, 2)), "prompt": jnp.zeros((2, 3), jnp.int32)})


class TestValues:
    def test_what_is_left_out_is_null(self):
        completed = complete((LABEL, TEXT), {"label": None})
        np.testing.assert_array_equal(completed["label"], [3])
        np.testing.assert_array_equal(completed["prompt"], [[6, 6, 6, 6]])

    def test_one_value_is_a_row_and_many_are_rows(self):
        completed = complete((LABEL, TEXT), {"label": np.array([2, 0]), "prompt": np.arange(4)})
        np.testing.assert_array_equal(completed["label"], [2, 0])
        np.testing.assert_array_equal(completed["prompt"], [[0, 1, 2, 3]])
        assert completed["label"].dtype == completed["prompt"].dtype == jnp.int32
        repeated = repeat_rows({"prompt": completed["prompt"]}, 3)["prompt"]
        np.testing.assert_array_equal(repeated, [[0, 1, 2, 3]] * 3)

    def test_a_fraction_of_the_examples_loses_all_its_conditions(self):
        values = {"label": jnp.ones(4_000, jnp.int32), "prompt": jnp.ones((4_000, 4), jnp.int32)}
        kept = drop(jax.random.key(0), (LABEL, TEXT), values, 0.25)
        is_null = np.asarray(kept["label"] == null_value(LABEL))
        np.testing.assert_allclose(is_null.mean(), 0.25, atol=0.03)
        np.testing.assert_array_equal(kept["prompt"], np.tile(np.where(is_null, 6, 1)[:, None], (1, 4)))
        np.testing.assert_array_equal(kept["label"][~is_null], 1)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"label": 3}, r"label is 3, but must be in 0, \.\.\., 2"),
            ({"label": 0.5}, r"label has dtype float32 and shape \(\), but must be one integer or int32 \(N,\)"),
            ({"prompt": np.full(4, 7)}, r"prompt is 7, but must be in 0, \.\.\., 6"),
            ({"prompt": np.zeros(3, int)}, r"prompt has dtype .* and shape \(3,\), but must be .* or int32 \(N, 4\)"),
            ({"style": 1}, r"style is given, but the conditions of this model are \['label', 'prompt'\]; leave it out"),
        ],
    )
    def test_wrong_values_are_refused(self, values, message):
        with pytest.raises(ValueError, match=message):
            complete((LABEL, TEXT), values)

    def test_training_data_must_have_all_conditions(self):
        with pytest.raises(ValueError, match=r"the batch has \['x'\], but this model is conditioned on 'label'"):
            from_batch((LABEL,), {"x": jnp.zeros(2)})

    def test_rows_must_be_those_of_the_data(self, model, variables):
        with pytest.raises(ValueError, match="a condition has 2 rows, but x has 3; give one"):
            model.predict(variables, jnp.ones((3, 2)), jnp.float32(0.5), prompt=jnp.stack([PROMPT, PROMPT]))


class TestText:
    def test_declared_conditions(self, model):
        prompt, negative = model.conditions
        assert (prompt.name, prompt.shape, prompt.num_values, prompt.in_batch) == ("prompt", (3,), 5, True)
        assert (negative.name, negative.in_batch, negative.tokenizer) == ("negative_prompt", False, "prompt")

    def test_guidance_of_weight_1_is_none_and_an_empty_negative_prompt_changes_nothing(self, model, variables):
        def data(**options):
            return model.denoiser(variables, prompt=PROMPT, **options)(jnp.ones((3, 2)), jnp.float32(0.4)).data

        np.testing.assert_array_equal(data(guidance=1.0), data())
        guided, empty = data(guidance=3.0), data(guidance=3.0, negative_prompt=jnp.zeros(3, jnp.int32))
        np.testing.assert_allclose(guided, empty, rtol=1e-6)
        assert np.abs(np.asarray(guided - data())).max() > 0.1

    def test_guidance_leads_from_the_negative_prompt_to_the_prompt(self, model, variables):
        """Equation 1 of guidance, from the denoisers of both texts."""
        x, t = jax.random.normal(jax.random.key(1), (3, 2)), jnp.float32(0.4)
        positive, negative = (model.predict(variables, x, t, prompt=text).noise for text in (PROMPT, NEGATIVE))
        guided = model.denoiser(variables, prompt=PROMPT, negative_prompt=NEGATIVE, guidance=2.5)(x, t).noise
        np.testing.assert_allclose(guided, negative + 2.5 * (positive - negative), rtol=1e-5, atol=1e-6)

    def test_no_prompt_is_the_empty_prompt(self, model, variables):
        x, t = jnp.ones((3, 2)), jnp.float32(0.4)
        empty = model.predict(variables, x, t, prompt=jnp.zeros(3, jnp.int32))
        np.testing.assert_array_equal(model.predict(variables, x, t).data, empty.data)

    def test_every_sample_can_have_its_prompt(self, model, variables):
        together = model.sample(variables, jax.random.key(2), 2, prompt=jnp.stack([PROMPT, NEGATIVE]))
        alone = model.sample(variables, jax.random.key(2), 2, prompt=NEGATIVE)
        np.testing.assert_allclose(together[1], alone[1], rtol=1e-5)
        assert np.abs(np.asarray(together[0] - alone[0])).max() > 0.01

    def test_the_encoder_is_trained_unless_it_was_before(self, model, variables):
        batch = {"x": jnp.ones((8, 2)), "prompt": jnp.tile(PROMPT, (8, 1))}
        (objective,) = model.objectives()
        assert objective.wrt == ("denoiser", "text_encoder")
        gradient = jax.grad(lambda params: model.loss(params, variables.state, jax.random.key(3), batch, 0)[0])(
            variables.params
        )
        assert np.abs(np.asarray(gradient["text_encoder"]["tokens"]["embedding"][1])).max() > 0
        frozen = dataclasses.replace(model, train_text_encoder=False)
        assert frozen.objectives()[0].wrt == ("denoiser",)

    def test_a_negative_prompt_without_guidance_is_refused(self, model, variables):
        with pytest.raises(ValueError, match="negative_prompt is given, but guidance is 1"):
            model.sample(variables, jax.random.key(4), 2, prompt=PROMPT, negative_prompt=NEGATIVE)

    def test_an_unconditional_model_takes_no_text(self):
        model = diffusion.Diffusion(shape=(2,), net=nets.DenoisingMLP((4,)))
        variables = model.init(jax.random.key(5), {"x": jnp.zeros((2, 2))})
        with pytest.raises(ValueError, match=r"prompt is given, but the conditions of this model are \[\]"):
            model.sample(variables, jax.random.key(6), 2, prompt=PROMPT)
