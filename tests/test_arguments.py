"""Arguments are checked against their annotations; a message names the argument, its value and what it must be."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from annotated_types import Interval

from genjax.arguments import (
    ArgumentError,
    DropoutRate,
    Infinite,
    NonNegativeFloat,
    NumClasses,
    PositiveFloat,
    PositiveInt,
    Shape,
    Widths,
    check_arguments,
)
from genjax.core import Array, Variables
from genjax.nets import MLP
from genjax.nets.adapter import Net

NET = MLP(features=(2,))


@check_arguments
@dataclass(frozen=True, kw_only=True)
class Model:
    size: PositiveInt = 2
    net: Net = NET
    weight: NonNegativeFloat = 1.0
    rate: DropoutRate = 0.0
    limit: Annotated[float, Infinite()] = np.inf
    num_classes: NumClasses | None = None
    kind: Literal["a", "b"] = "a"
    order: Literal[1, 2] = 1
    shape: Shape = (3,)
    widths: Widths = (3,)
    small: Annotated[float, Interval(gt=0, le=1e-7)] = 1e-8
    pair: tuple[int, float] = (1, 2.0)
    apply: Callable[[Array], Array] = jnp.tanh
    flag: bool = False
    names: Sequence[str] = ()
    table: Mapping[str, int] | None = None

    def __post_init__(self):
        if self.size > 100:
            raise ValueError("too many")

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt, *, temperature: PositiveFloat = 1.0):
        return variables.params["decoder"] * temperature + jax.random.normal(key, (num_samples,))


@check_arguments
def scale(x: Array, factor: Annotated[float, Interval(gt=0, le=1)] = 1.0, *, name: str = "x") -> Any:
    return x * factor


@check_arguments
def repeat(x: Array, count: PositiveInt) -> Array:
    return jnp.broadcast_to(jnp.sum(x), (count,))


@pytest.mark.parametrize(
    ("field", "value", "needs"),
    [
        ("size", 2.5, "2.5, but must be a whole number"),
        ("size", "2", "'2', but must be a whole number"),
        ("size", True, "True, but must be a whole number"),
        ("size", None, "None, but must be a whole number"),
        ("size", 0, "0, but must be at least 1"),
        ("size", np.zeros(3), r"an array of shape \(3,\) and type float64, but must be a whole number"),
        ("net", None, "None, but must be a Net: any object with init and apply"),
        ("net", MLP, r"the class MLP, but must be a Net; call the class: MLP\(...\)"),
        ("weight", float("nan"), "nan, but must be a finite number"),
        ("weight", float("inf"), "inf, but must be a finite number"),
        ("weight", "heavy", "'heavy', but must be a number"),
        ("weight", -1, "-1, but must be at least 0"),
        ("rate", 1, r"1, but must be in \[0, 1\); 0 turns it off"),
        ("rate", float("nan"), "nan, but must be a finite number; 0 turns it off"),
        ("net", [np.zeros((2, 1))], r"\[array\(\[\[0.\], \[0.\]\]\)\], but must be a Net"),
        ("limit", float("nan"), "nan, but must be a number, but not NaN"),
        ("num_classes", 0, "0, but must be at least 1; use None for an unconditional model"),
        ("kind", "c", "'c', but must be 'a' or 'b'"),
        ("shape", 3, r"3, but must be a tuple, such as \(3,\)"),
        ("widths", 3, r"3, but must be a Sequence, such as \(3,\)"),
        ("widths", (), r"\(\), but must be of length 1 or more"),
        ("widths", (3, 0), r"\(3, 0\), but must be a sequence whose every entry is at least 1, and 0 is not"),
        ("shape", [3], r"\[3\], but must be a tuple, such as \(3,\)"),
        ("shape", (3, 0), r"\(3, 0\), but must be a tuple whose every entry is at least 1, and 0 is not"),
        ("pair", (1, 2, 3), "must be a tuple of 2"),
        ("pair", (1.5, 2), "a whole number, and 1.5 is not"),
        ("apply", None, "None, but must be a function"),
        ("apply", int, "the class int, but must be a function"),
        ("flag", 1, "1, but must be True or False"),
        ("small", 3.0, r"3.0, but must be in \(0, 1e-07\]"),
        ("names", "abc", "'abc', but must be a Sequence"),
        ("names", (1,), "a str, and 1 is not"),
        ("table", {"a": 1.5}, "a whole number, and 1.5 is not or None"),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_what_it_must_be(field, value, needs):
    for build in (lambda: Model(**{field: value}), lambda: replace(Model(), **{field: value})):
        with pytest.raises(ArgumentError, match=rf"^Model: {field} is .*{needs}"):
            build()


@pytest.mark.parametrize(
    "fields",
    [
        {"size": 3},
        {"weight": 1},
        {"num_classes": 3},
        {"limit": -np.inf},
        {"apply": functools.partial(jnp.clip, max=1.0)},
        {"names": ["a", "b"]},
        {"table": {"a": 1}},
        {"flag": True},
    ],
)
def test_right_fields_arrive_as_they_are(fields):
    (name, value), *_ = fields.items()
    assert getattr(Model(**fields), name) is value


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"size": np.int64(3)}, 3),
        ({"size": jnp.int32(3)}, 3),
        ({"size": np.array(3)}, 3),
        ({"weight": np.float32(0.5)}, 0.5),
        ({"weight": jnp.float32(0.5)}, 0.5),
        ({"num_classes": np.uint8(3)}, 3),
        ({"shape": (np.int32(3), 4)}, (3, 4)),
        ({"pair": (np.int64(1), np.float64(2.0))}, (1, 2.0)),
        ({"flag": np.bool_(True)}, True),
        ({"order": np.int64(2)}, 2),
    ],
)
def test_scalars_of_arrays_become_numbers(fields, expected):
    (name, _), *_ = fields.items()
    for value in (getattr(Model(**fields), name), getattr(replace(Model(), **fields), name)):
        assert repr(value) == repr(expected)


def test_scalars_of_arrays_become_numbers_in_calls_but_data_stay_arrays():
    @check_arguments
    def identity(x: Array, count: PositiveInt, *, label: int | None = None) -> Any:
        return x, count, label

    x, *numbers = identity(np.float32(2.0), np.int64(3), label=np.int8(1))
    assert type(x) is np.float32
    assert repr(numbers) == "[3, 1]"


def test_checks_of_several_fields_come_after_those_of_one():
    with pytest.raises(ArgumentError, match="whole number"):
        Model(size=200.5)
    with pytest.raises(ValueError, match="too many"):
        Model(size=200)


def test_methods_check_what_they_are_called_with():
    variables, key = Variables({"decoder": jnp.float32(1.0)}, {}), jax.random.key(0)
    assert Model().sample(variables, key, 3).shape == (3,)
    for wrong, message in (
        ((None, key, 3), "Model.sample: variables is None, but must be a Variables"),
        ((variables, 0, 3), r"Model.sample: key is 0, but must be a typed key, such as jax.random.key\(0\)"),
        ((variables, jnp.zeros(2, jnp.uint32), 3), "must be a typed key"),
        ((variables, key, 0), "num_samples is 0, but must be at least 1"),
        (
            (Variables({"generator": 0}, {}), key, 1),
            r"variables have no part 'decoder', only \['generator'\]; pass what",
        ),
    ):
        with pytest.raises(ArgumentError, match=message):
            Model().sample(*wrong)
    with pytest.raises(ArgumentError, match="temperature is 0, but must be above 0"):
        Model().sample(variables, key, 3, temperature=0)


def test_functions_are_checked_and_keep_their_signature():
    np.testing.assert_array_equal(scale(np.ones(2), 0.5), [0.5, 0.5])
    assert list(inspect.signature(scale).parameters) == ["x", "factor", "name"]
    with pytest.raises(ArgumentError, match=r"scale: x is \[1, 2\], but must be an array of numbers"):
        scale([1, 2])
    with pytest.raises(ArgumentError, match=r"scale: x is .* but must be an array of numbers"):
        scale(np.array(["a"]))
    with pytest.raises(ArgumentError, match=r"factor is 2, but must be in \(0, 1\]"):
        scale(np.ones(2), factor=2)
    with pytest.raises(TypeError, match="unexpected keyword"):
        scale(np.ones(2), sized=2)


def test_sizes_that_an_export_leaves_open_pass():
    (rows,) = jax.export.symbolic_shape("rows")
    exported = jax.export.export(jax.jit(lambda x: repeat(x, x.shape[0])))(jax.ShapeDtypeStruct((rows,), jnp.float32))
    assert exported.call(jnp.ones(3)).shape == (3,)


def test_compiled_programs_run_no_checks():
    """Tracers pass without a value, and the check is not part of the program."""
    plain = scale.__wrapped__
    programs = [str(jax.make_jaxpr(f)(jnp.ones(3), jnp.float32(0.5))) for f in (scale, plain)]
    assert programs[0] == programs[1]


def test_flax_modules_check_their_fields():
    @check_arguments
    class Layer(nn.Module):
        width: PositiveInt

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.width)(x)

    net = Layer(width=3)
    assert net.apply(net.init(jax.random.key(0), jnp.ones((1, 2))), jnp.ones((1, 2))).shape == (1, 3)
    with pytest.raises(ArgumentError, match="width is 0, but must be at least 1"):
        Layer(width=0)
