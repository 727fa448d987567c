"""Methods of a model as programs over rows: one key, condition or example a row, and nothing but arrays.

Each row is computed as a batch of its own, so that the results of a row do not depend on the rows beside it, and a
program takes any number of rows. A row of ``sample`` is what ``run.sample(key, 1)`` draws.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final, get_args

import jax
import jax.numpy as jnp

from genjax.arguments import NonNegativeInt, PositiveInt, check_arguments
from genjax.capabilities import (
    Condition,
    Decodes,
    Encodes,
    Extends,
    HasLatentVariables,
    conditions,
    is_discrete,
    likelihoods,
    num_values,
    stop_token,
    supports,
)
from genjax.core import Array, PyTree, Variables
from genjax.experiment import Experiment

ProgramName = Literal["sample", "extend", "log_prob", "log_prob_lower_bound", "log_prob_estimate", "encode", "decode"]
PROGRAMS: tuple[ProgramName, ...] = get_args(ProgramName)
KEY_IMPL = "threefry2x32"
_LIKELIHOODS = ("log_prob", "log_prob_lower_bound", "log_prob_estimate")


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """An input or the output of a program.

    Attributes:
      name: name of the array.
      shape: shape of a row.
      dtype: dtype.
      meaning: units and range in words.
      num_values: number of values 0 … num_values − 1 of integers; None for other numbers.
      null: value that stands for no condition, beside these; None where the input is required.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    meaning: str
    num_values: int | None = None
    null: int | None = None

    def row(self) -> jax.ShapeDtypeStruct:
        """Return the shape and dtype of one row."""
        return jax.ShapeDtypeStruct(self.shape, jnp.dtype(self.dtype))


@final
@dataclass(frozen=True, kw_only=True)
class Program:
    """A method of a model over rows.

    Attributes:
      name: name of the method.
      function: function from variables and the inputs of one row, by name, to the output of the row.
      inputs: inputs of a row, in their order.
      output: output of a row.
      settings: arguments of the method that are fixed, by name.
    """

    name: ProgramName
    function: Callable[[Variables, dict[str, Array]], Array]
    inputs: tuple[Entry, ...]
    output: Entry
    settings: Mapping[str, Any]

    def __call__(self, variables: Variables, *rows: Array) -> Array:
        """Return the outputs of rows, (B, ...)."""

        def row(*values: Array) -> Array:
            return self.function(variables, dict(zip([entry.name for entry in self.inputs], values, strict=True)))

        return jax.vmap(row)(*rows)


def available_programs(model: object) -> tuple[ProgramName, ...]:
    """Return the names of the programs that a model has.

    >>> from genjax import flow
    >>> model = flow.nice(shape=(2,))
    >>> available_programs(model)
    ('sample', 'log_prob', 'encode', 'decode')
    """
    names = {"sample", *likelihoods(model)}
    others = {"extend": Extends, "encode": Encodes, "decode": Decodes}
    names |= {name for name, capability in others.items() if supports(model, capability)}
    if not supports(model, Encodes) and not supports(model, HasLatentVariables):
        names -= {"decode"}  # the shape of its codes is unknown
    return tuple(name for name in PROGRAMS if name in names)


@check_arguments
def make_program(
    name: ProgramName,
    experiment: Experiment,
    variables: Variables,
    *,
    prompt_length: NonNegativeInt = 0,
    likelihood_samples: PositiveInt = 1_000,
    num_new: PositiveInt = 16,
    sample_kwargs: Mapping[str, Any] | None = None,
) -> Program:
    """Return the program of a method; nothing is compiled.

    Args:
      name: name of the method.
      experiment: experiment whose model is exported; its data say which shapes and conditions there are.
      variables: variables of the model, of which only shapes are read.
      prompt_length: number of tokens of the prompt that ``sample`` takes, padded with -1; 0 for no prompt.
      likelihood_samples: number of draws of an estimated likelihood.
      num_new: number of tokens that one call of ``extend`` draws.
      sample_kwargs: fixed arguments of ``sample``, and of ``extend`` where it has them.

    Raises:
      ValueError: if the model does not have the method, or takes no prompt.
    """
    model: Any = experiment.model
    if name not in (has := available_programs(model)):
        raise ValueError(f"{type(model).__name__} has no {name}; export {', '.join(has)}")
    settings = dict(sample_kwargs or {}) if name in ("sample", "extend") else {}
    if name == "extend":
        known = inspect.signature(model.extend).parameters
        settings = {key: value for key, value in settings.items() if key in known} | {"num_new": num_new}
    settings |= {"num_samples": likelihood_samples} if name == "log_prob_estimate" else {}
    arguments = _conditions(experiment, getattr(model, name), settings)
    if name == "sample" and prompt_length:
        arguments += (_prompt(model, prompt_length),)
    key = Entry(name="key", shape=(2,), dtype="uint32", meaning="jax.random.key_data of a threefry2x32 key")
    keys = () if name in ("log_prob", "encode", "decode") else (key,)
    data = () if name == "sample" else (_data(experiment),)
    if name == "extend":
        data = (_prompt(model, experiment.batch_spec()["x"].shape[0]),)
    if name == "decode":
        data = (_latent(model, variables, _data(experiment), arguments),)
    inputs = (*keys, *data, *arguments)
    function = _row(getattr(model, name), name, tuple(entry.name for entry in data), settings)
    row = jax.eval_shape(function, variables, {entry.name: entry.row() for entry in inputs})
    output = Entry(
        name=name, shape=row.shape, dtype=str(row.dtype), meaning=_meaning(name, experiment, likelihood_samples)
    )
    return Program(name=name, function=function, inputs=inputs, output=output, settings=settings)


def _row(
    method: Callable[..., Array], name: str, data: Sequence[str], settings: Mapping[str, Any]
) -> Callable[[Variables, dict[str, Array]], Array]:
    """Return a function from variables and the inputs of one row to its output."""

    def row(variables: Variables, inputs: dict[str, Array]) -> Array:
        inputs = dict(inputs)
        arguments: list[Any] = []
        if "key" in inputs:
            key = jax.random.wrap_key_data(inputs.pop("key"), impl=KEY_IMPL)
            # ``run.sample`` folds the number of a block into its key.
            arguments += [jax.random.fold_in(key, 0)] if name in ("sample", "extend") else [key]
            arguments += [1] if name == "sample" else []
        arguments += [inputs.pop(entry)[None] for entry in data]
        values = {entry: value[None] for entry, value in inputs.items()}
        return method(variables, *arguments, **settings, **values)[0]

    return row


def _data(experiment: Experiment) -> Entry:
    spec, values = experiment.batch_spec()["x"], experiment.values
    meaning = "data after the preprocessing of training" + ("" if values is None else f": {values}")
    return Entry(
        name="x", shape=spec.shape, dtype=str(spec.dtype), meaning=meaning, num_values=num_values(experiment.model)
    )


def _conditions(experiment: Experiment, method: Callable[..., Any], settings: Mapping[str, Any]) -> tuple[Entry, ...]:
    """Return the conditions that a method takes and batches hold, except those that are fixed."""
    spec, parameters = experiment.batch_spec(), inspect.signature(method).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return tuple(
        _condition(condition, spec[condition.name].shape, str(spec[condition.name].dtype))
        for condition in conditions(experiment.model)
        if condition.in_batch and condition.name in spec and condition.name not in settings
        if takes_any or condition.name in parameters
    )


def _condition(condition: Condition, shape: tuple[int, ...], dtype: str) -> Entry:
    meanings = {"label": "class", "tokens": "tokens, padded", "image": "pixels in [0, 1]", "array": "numbers"}
    return Entry(
        name=condition.name,
        shape=shape,
        dtype=dtype if condition.num_values is None else "int32",
        meaning=meanings[condition.kind],
        num_values=condition.num_values,
        null=condition.null if condition.optional else None,
    )


def _prompt(model: object, length: int) -> Entry:
    for condition in conditions(model):
        if condition.name == "prompt" and not condition.in_batch:
            meaning = "tokens that samples begin with, padded with -1 at the end"
            return Entry(
                name="prompt", shape=(length,), dtype="int32", meaning=meaning, num_values=condition.num_values, null=-1
            )
    raise ValueError(
        f"prompt_length is {length}, but {type(model).__name__} takes no prompt that samples begin with; leave it out"
    )


def _latent(model: Any, variables: Variables, data: Entry, arguments: Sequence[Entry]) -> Entry:
    """Return the codes that ``decode`` takes, those of ``encode`` or of the prior."""

    def latent(variables: PyTree, key: Array, x: Array, given: dict[str, Array]) -> Array:
        if supports(model, Encodes):
            return model.encode(variables, x, **given)
        return model.sample_prior(variables, key, 1)

    x, *rows = [jax.ShapeDtypeStruct((1, *entry.shape), jnp.dtype(entry.dtype)) for entry in (data, *arguments)]
    names = [entry.name for entry in arguments]
    spec = jax.eval_shape(latent, variables, jax.random.key(0), x, dict(zip(names, rows, strict=True)))
    return Entry(name="latent", shape=spec.shape[1:], dtype=str(spec.dtype), meaning="codes")


def _meaning(name: str, experiment: Experiment, likelihood_samples: int) -> str:
    if name in _LIKELIHOODS:
        kind = "log-mass" if is_discrete(experiment.model) else "log-density"
        kinds = {"log_prob": kind, "log_prob_lower_bound": f"lower bound of the {kind}"}
        text = kinds.get(name, f"estimate of the {kind} from {likelihood_samples} draws")
        return f"{text} of x, nats per example"
    if name == "encode":
        return "codes"
    text = _data(experiment).meaning
    text = f"{text}; -1 where no token is drawn yet" if name == "extend" else text
    stop = stop_token(experiment.model)
    return text if stop is None else f"{text}; token {stop} ends a sequence"
