"""Class labels as inputs of networks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.core import Array, Batch

Label = Array | int | None  # class of all examples, or int32 (B,) with one for each; None without classes
NetCondition = tuple[Array, ...]  # further arguments of a network: the one-hot label, or nothing


def label_of(batch: Batch, num_classes: int | None) -> Array | None:
    """Return the labels of a batch, or None for an unconditional model; ValueError if labels are needed but missing."""
    if num_classes is None:
        return None  # a data set may have labels that the model does not need
    if "label" not in batch:
        raise ValueError(f"the batch has {sorted(batch)}, but num_classes={num_classes} needs 'label'; add it")
    return batch["label"]


def condition_inputs(label: Label, num_classes: int | None, num_rows: int) -> NetCondition:
    """Return the further arguments of a network: ``one_hot_label``, or nothing for an unconditional model.

    >>> condition_inputs(1, 3, 2)[0].tolist(), condition_inputs(None, None, 2)
    ([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]], ())
    """
    one_hot = one_hot_label(label, num_classes, num_rows)
    return () if one_hot is None else (one_hot,)


def null_label_inputs(label: Label, num_classes: int | None, num_rows: int) -> NetCondition:
    """Return the further arguments of a network that also works without a label, which a null class stands for.

    They are the one-hot label, float32 (num_rows, num_classes + 1), or nothing for an unconditional model. The null
    class is the last, ``num_classes``; ``label=None`` stands for it too.

    >>> null_label_inputs(None, 2, 1)[0].tolist(), null_label_inputs(1, 2, 1)[0].tolist()
    ([[0.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]])
    """
    if num_classes is None:
        return condition_inputs(label, None, num_rows)
    return condition_inputs(num_classes if label is None else label, num_classes + 1, num_rows)


def drop_labels(key: Array, label: Array | None, num_classes: int | None, rate: float) -> Array | None:
    """Replace a share ``rate`` of the labels (B,) by the null class, ``num_classes``.

    >>> drop_labels(jax.random.key(0), jnp.array([0, 1]), 2, 1.0).tolist()
    [2, 2]
    """
    if label is None or num_classes is None:
        return label
    return jnp.where(jax.random.bernoulli(key, rate, label.shape), num_classes, label)


def one_hot_label(label: Label, num_classes: int | None, num_rows: int) -> Array | None:
    """Return the one-hot label, float32 (num_rows, num_classes), or None for an unconditional model.

    A model without ``num_classes`` is unconditional. ``label`` is int32 (num_rows,), or one integer for all rows;
    ValueError if it is missing, not expected, or not one of the classes.
    """
    if num_classes is None:
        if label is not None:
            raise ValueError("label is given, but this model has num_classes=None; leave it out or set num_classes")
        return None
    if label is None:
        raise ValueError(f"label is None, but this model has num_classes={num_classes}; give label=0, for example")
    if not isinstance(label, Tracer):
        values = np.asarray(label)
        if not np.issubdtype(values.dtype, np.integer) or values.shape not in ((), (num_rows,)):
            raise ValueError(
                f"label has dtype {values.dtype} and shape {values.shape}, but must be one integer or "
                f"int32 ({num_rows},)"
            )
        wrong = values[(values < 0) | (values >= num_classes)]
        if wrong.size:
            raise ValueError(f"label is {wrong.flat[0]}, but must be in 0, ..., {num_classes - 1}")
    return jnp.broadcast_to(jax.nn.one_hot(label, num_classes, dtype=jnp.float32), (num_rows, num_classes))
