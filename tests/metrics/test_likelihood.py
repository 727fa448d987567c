"""Units of log-likelihood: known conversions, and errors for invalid units."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import autoregressive, data, nets, ops, vae
from genjax.metrics.likelihood import (
    LikelihoodUnits,
    bits_per_character,
    bits_per_dim,
    likelihood_units,
    perplexity,
)

IMAGES = data.arrays(np.zeros((4, 2, 3, 1), np.uint8), name="images")
LETTERS = {name: np.array([50.0, 50.0]) for name in ("byte", "character", "token")}
WIDTHS = {"unit": (0.0, 1.0), "symmetric": (-1.0, 1.0), "counts": (0.0, 256.0), "odd": (-0.3, 2.4)}


def likelihoods(mean, standard_error):
    """Return two log-likelihoods with a mean and a standard error."""
    return np.array([mean - standard_error, mean + standard_error])


class TestConversions:
    @pytest.mark.parametrize("interval", WIDTHS.values(), ids=WIDTHS)
    def test_uniform_8_bit_data_has_8_bits_however_it_is_spread_and_scaled(self, interval):
        low, high = interval
        num_dims = 3072
        x = data.dequantize(low=low, high=high)(jax.random.key(0), {"x": jnp.arange(256, dtype=jnp.uint8)})["x"]
        log_density = np.where((x >= low) & (x < high), -math.log(high - low), -np.inf).mean() * num_dims
        width = data.dequantize(low=low, high=high).bin_width
        assert bits_per_dim(log_density, num_dims, bin_width=width) == pytest.approx(8, rel=1e-12)
        assert bits_per_dim(-num_dims * math.log(256), num_dims) == pytest.approx(8, rel=1e-12)

    def test_a_density_that_is_flat_in_each_bin_has_the_bits_of_its_masses(self):
        """A density of p_k / w within bin k has mass p_k, for which the dequantization bound is tight."""
        masses = np.array([0.5, 0.25, 0.125, 0.125])
        transform = data.dequantize(levels=4, low=-1.0)
        k = np.repeat(np.arange(4), [4, 2, 1, 1]).astype(np.uint8)  # frequencies equal to their masses
        x = np.asarray(transform(jax.random.key(0), {"x": jnp.asarray(k)})["x"])
        log_density = np.log(masses / 0.5)[np.floor((x + 1) * 2).astype(int)]
        bits = bits_per_dim(log_density.mean(), 1, bin_width=transform.bin_width)
        assert bits == pytest.approx(1.75, rel=1e-12)  # the entropy of the masses

    def test_numbers_that_papers_give_in_both_units(self):
        # NICE on CIFAR-10 scaled to [-1, 1]: 5371.78 nats (Dinh et al. 2014), 4.48 bits (van den Oord et al. 2016).
        assert bits_per_dim(5371.78, 3072, bin_width=2 / 256) == pytest.approx(4.48, abs=0.005)
        # With bins of the width for [0, 1], it would be one bit more.
        assert bits_per_dim(5371.78, 3072, bin_width=1 / 256) == pytest.approx(5.48, abs=0.005)

    def test_bits_and_perplexity_of_guessing_letters(self):
        log_prob = -100 * math.log(27)
        assert bits_per_character(log_prob, 100) == pytest.approx(math.log2(27))
        assert float(perplexity(log_prob, 100)) == pytest.approx(27, rel=1e-6)
        assert float(perplexity(0.0, 5)) == 1
        assert float(perplexity(-np.inf, 5)) == float(perplexity(-1e6, 5)) == np.inf

    def test_arrays_convert_elementwise_and_under_jit(self):
        log_prob = jnp.array([[-6.0, -12.0]]) * math.log(2)
        np.testing.assert_allclose(jax.jit(bits_per_dim, static_argnums=1)(log_prob, 6), [[1, 2]], rtol=1e-6)
        np.testing.assert_allclose(bits_per_dim(np.asarray(log_prob), 6, bin_width=0.5), [[2, 3]], rtol=1e-6)
        np.testing.assert_allclose(jax.jit(perplexity, static_argnums=1)(log_prob, 3), [[4, 16]], rtol=1e-6)

    @pytest.mark.parametrize("convert", [bits_per_dim, bits_per_character, perplexity])
    def test_nothing_has_no_bits(self, convert):
        with pytest.raises(ValueError, match="is 0, but must be at least 1; count the dimensions"):
            convert(-1.0, 0)

    @pytest.mark.parametrize("width", [0.0, -1.0, math.inf, math.nan])
    def test_a_width_is_positive(self, width):
        with pytest.raises(ValueError, match=f"bin_width is {width}, but must be (above 0|a finite number); use None"):
            bits_per_dim(-1.0, 1, bin_width=width)


class TestLikelihoodUnits:
    def test_a_mass_keeps_its_guarantee_turned_round(self):
        units = LikelihoodUnits(num_dims=10, discrete=True, num_values=256)
        expected = {"exact": "exact", "lower bound": "upper bound", "estimate": "estimate"}
        for guarantee, falling in expected.items():
            converted = units.convert(likelihoods(-20 * math.log(2), math.log(2)), guarantee)
            assert set(converted) == {"nats", "bits_per_dim"}
            nats, bits = converted["nats"], converted["bits_per_dim"]
            error = pytest.approx(math.log(2))
            assert nats == {"value": -20 * math.log(2), "standard_error": error, "guarantee": guarantee}
            assert bits == {"value": pytest.approx(2), "standard_error": pytest.approx(0.1), "guarantee": falling}

    def test_an_exact_density_bounds_the_bits_of_what_was_dequantized(self):
        units = LikelihoodUnits(num_dims=4, discrete=False, num_values=256, bin_width=1 / 256)
        converted = units.convert(likelihoods(0.0, 0.1), "exact")
        assert converted["nats"]["guarantee"] == "exact"
        assert converted["bits_per_dim"]["value"] == 8
        assert converted["bits_per_dim"]["guarantee"] == "upper bound"

    def test_texts_have_characters(self):
        units = LikelihoodUnits(num_dims=50, discrete=True, num_values=27, counts=LETTERS)
        converted = units.convert(likelihoods(-50 * math.log(4), 0.5), "exact")
        assert set(converted) == {"nats", "bits_per_byte", "bits_per_character", "perplexity"}
        assert converted["bits_per_character"]["value"] == pytest.approx(2)
        assert converted["perplexity"]["value"] == pytest.approx(4, rel=1e-6)
        # A standard error converts as a change of the mean does.
        for name in ("bits_per_character", "perplexity"):
            shifted = units.convert(likelihoods(-50 * math.log(4) - 0.005, 0.5), "exact")[name]["value"]
            assert 100 * (shifted - converted[name]["value"]) == pytest.approx(
                converted[name]["standard_error"], rel=1e-3
            )

    def test_bits_per_byte_are_those_of_all_texts_over_all_their_bytes(self):
        num_bytes = np.array([1.0, 7.0, 4.0])
        units = LikelihoodUnits(
            num_dims=9, discrete=True, num_values=600, counts={"byte": num_bytes, "token": np.array([1.0, 2.0, 3.0])}
        )
        fair = units.convert(-num_bytes * math.log(8), "exact")
        assert set(fair) == {"nats", "bits_per_byte", "perplexity"}
        assert fair["bits_per_byte"]["value"] == pytest.approx(3)
        assert fair["bits_per_byte"]["standard_error"] == pytest.approx(0, abs=1e-12)  # although the lengths vary
        assert fair["nats"]["standard_error"] > 1
        assert fair["perplexity"]["value"] == pytest.approx(8 ** (12 / 6), rel=1e-5)

    def test_pieces_spell_a_text_in_many_ways_of_which_one_is_scored(self):
        """With the tokens a, b and ab all equally likely, "ab" has 1/3 as one token, and 1/9 more as two."""
        counts = {"byte": np.array([2.0, 2.0]), "token": np.array([1.0, 1.0])}
        units = LikelihoodUnits(num_dims=1, discrete=True, num_values=3, counts=counts, unique_tokenization=False)
        converted = units.convert(np.log([1 / 3, 1 / 3]), "exact")
        assert converted["bits_per_byte"]["value"] > -math.log2(1 / 3 + 1 / 9) / 2
        assert [converted[name]["guarantee"] for name in converted] == ["exact", "upper bound", "exact"]
        converted = units.convert(np.log([1 / 3, 1 / 3]), "estimate")
        assert {unit["guarantee"] for unit in converted.values()} == {"estimate"}

    def test_the_error_of_bits_per_byte_is_their_spread_over_data_sets(self):
        draw = np.random.default_rng(0)
        values, errors = [], []
        for _ in range(400):
            num_bytes = draw.integers(1, 30, 100).astype(float)
            units = LikelihoodUnits(num_dims=9, discrete=True, num_values=6, counts={"byte": num_bytes})
            converted = units.convert(-num_bytes * 1.5 - draw.normal(size=100), "exact")["bits_per_byte"]
            values.append(converted["value"])
            errors.append(converted["standard_error"])
        assert np.mean(errors) == pytest.approx(np.std(values), rel=0.15)

    @pytest.mark.parametrize(
        ("units", "reason"),
        [
            ({"discrete": None, "num_values": 256}, "give it `discrete`"),
            ({"discrete": False, "num_values": None}, "the data is continuous"),
            ({"discrete": True, "num_values": None}, "store integers and declare their number of levels"),
            ({"discrete": True, "num_values": 17, "bin_width": 1 / 17}, "leave data.dequantize out"),
            (
                {"discrete": False, "num_values": 17},
                r"unbounded; end the preprocessing with data.dequantize\(levels=17\)",
            ),
        ],
    )
    @pytest.mark.parametrize("text", [None, LETTERS])
    def test_what_has_no_bits_says_why(self, units, reason, text):
        converted = LikelihoodUnits(num_dims=3, counts=text, **units).convert(likelihoods(-1.0, 0.1), "exact")
        assert converted.pop("nats") == {"value": -1.0, "standard_error": pytest.approx(0.1), "guarantee": "exact"}
        for unit in converted.values():
            assert unit["value"] is None
            assert re.search(reason, unit["reason"])

    def test_guarantees_are_those_of_log_likelihoods(self):
        with pytest.raises(
            ValueError, match="guarantee is 'upper bound', but must be 'exact', 'lower bound' or 'estimate'"
        ):
            LikelihoodUnits(num_dims=3, discrete=True, num_values=2).convert(np.zeros(2), "upper bound")


def model(likelihood):
    return vae.VAE(
        latent_dim=2, encoder=nets.MLP((4,)), decoder=nets.MLP((3,), output_shape=(2, 3, 1)), likelihood=likelihood
    )


class TestOfRuns:
    def test_a_mass_on_binarized_images(self):
        units = likelihood_units(model(ops.Bernoulli()), IMAGES, data.dynamic_binarization())
        assert units == LikelihoodUnits(num_dims=6, discrete=True, num_values=256)
        assert units.unavailable_reason is None

    def test_a_density_of_dequantized_images(self):
        units = likelihood_units(model(ops.Gaussian()), IMAGES, data.chain(data.dequantize(low=-1.0)))
        assert units == LikelihoodUnits(num_dims=6, discrete=False, num_values=256, bin_width=2 / 256)
        assert units.unavailable_reason is None

    def test_a_density_of_images_that_were_only_scaled(self):
        units = likelihood_units(model(ops.Gaussian()), IMAGES, data.scale())
        assert units == LikelihoodUnits(num_dims=6, discrete=False, num_values=256)
        assert "unbounded" in (units.unavailable_reason or "")

    def test_dimensions_are_those_that_the_model_sees(self):
        def crop(key, batch):
            del key
            return {"x": batch["x"][:, :, 1:]}

        units = likelihood_units(model(ops.Gaussian()), IMAGES, data.chain(crop, data.dequantize()))
        assert (units.num_dims, units.bin_width) == (4, 1 / 256)
        # Preprocessing after dequantization may stretch the bins.
        assert likelihood_units(model(ops.Gaussian()), IMAGES, data.chain(data.dequantize(), crop)).bin_width is None

    def test_texts_tables_and_models_that_do_not_say(self, tmp_path):
        (tmp_path / "letters.txt").write_text("abcabcab" * 40)
        letters = data.text(tmp_path / "letters.txt", length=8, tokenizer="characters")
        units = likelihood_units(object(), letters, lambda key, batch: batch)
        assert (units.num_dims, units.discrete, units.num_values) == (8, None, 3)
        assert units.counts is not None
        assert {name: set(counts) for name, counts in units.counts.items()} == {k: {8.0} for k in LETTERS}
        # If preprocessing cuts the text, its bytes are no longer those that were counted.
        units = likelihood_units(object(), letters, lambda key, batch: {"x": batch["x"][:, :4]})
        assert (units.num_dims, units.counts) == (4, None)
        table = data.arrays(np.zeros((4, 5), np.float32), name="table")
        units = likelihood_units(model(ops.Gaussian()), table, lambda key, batch: batch)
        assert units == LikelihoodUnits(num_dims=5, discrete=False)

    def test_texts_are_counted_up_to_their_end_and_it_too(self, tmp_path):
        (tmp_path / "names.txt").write_text("éa\nb\nbbbb\nb\n", encoding="utf-8")
        names = data.lines(tmp_path / "names.txt", validation=1)
        assert [names.splits["validation"].arrays["x"][0].tolist()] == [[2, 2, 2, 2, 0]]
        ending = autoregressive.GPT(
            num_values=4, length=5, num_layers=1, num_heads=1, features=4, stop_token=data.end_of_line(names)
        )
        for split, num_bytes, num_tokens in (("train", [4, 2, 2], [3, 2, 2]), ("validation", [5], [5])):
            text = likelihood_units(ending, names, lambda key, batch: batch, split).counts
            assert text is not None
            assert (text["byte"].tolist(), text["token"].tolist()) == (num_bytes, num_tokens)
            assert text["character"].tolist() == num_tokens
        endless = likelihood_units(object(), names, lambda key, batch: batch).counts
        assert endless is not None
        assert endless["token"].tolist() == [5, 5, 5]

    def test_pieces_have_bytes_but_no_characters(self, tmp_path):
        content = "naïve banana, naïve bandana; " * 20
        (tmp_path / "fruit.txt").write_text(content, encoding="utf-8")
        fruit = data.text(tmp_path / "fruit.txt", length=1, tokenizer="bpe", num_tokens=262, validation=0)
        units = likelihood_units(object(), fruit, lambda key, batch: batch)
        assert units.counts is not None
        assert set(units.counts) == {"byte", "token"}
        assert units.counts["byte"].sum() == len(content.encode()) > units.counts["token"].sum()
        assert not units.unique_tokenization
