"""Autoregressive models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from genjax import autoregressive
from tests.contract.batches import code_batch, level_batch, spoken_batch, token_batch
from tests.contract.case import Case


def _pixels(make: Callable[..., autoregressive.CausalModel], **options: Any) -> autoregressive.CausalModel:
    return make(**{"shape": (4, 4, 1), "num_values": 8, "features": 4} | options)


def _gpt(**options: Any) -> autoregressive.GPT:
    return autoregressive.GPT(num_values=5, length=6, num_layers=2, num_heads=2, features=8, **options)


def _wavenet(**options: Any) -> autoregressive.CausalModel:
    return autoregressive.wavenet(shape=(6,), num_values=5, num_layers=2, features=4, skip_features=4, **options)


CASES = (
    Case("made", lambda: autoregressive.MADE(shape=(2, 3), num_values=5, features=(8,)), batch=code_batch),
    Case(
        "made_of_several_orders",
        lambda: autoregressive.MADE(shape=(2, 3), features=(8,), num_values=5, orders=2, num_classes=3),
        batch=code_batch,
    ),
    Case("pixel_cnn", lambda: _pixels(autoregressive.pixel_cnn, num_layers=2), batch=level_batch),
    Case(
        "gated_pixel_cnn",
        lambda: _pixels(autoregressive.gated_pixel_cnn, num_layers=2, reach=1, num_classes=3, embedding_dim=3),
        batch=level_batch,
    ),
    Case(
        "pixel_cnn_pp",
        lambda: _pixels(autoregressive.pixel_cnn_pp, num_blocks=1, num_resolutions=2, num_components=2, num_classes=3),
        batch=level_batch,
    ),
    Case(
        "row_lstm",
        lambda: _pixels(autoregressive.pixel_rnn, kind="row", num_layers=1, head_features=4, num_classes=3),
        batch=level_batch,
    ),
    Case(
        "diagonal_bilstm",
        lambda: _pixels(autoregressive.pixel_rnn, kind="diagonal", num_layers=2, head_features=4, dropout=0.1),
        batch=level_batch,
    ),
    Case("gpt", lambda: _gpt(dropout=0.1), batch=token_batch),
    Case("gpt_modern", lambda: _gpt(positions="rotary", qk_norm=True, use_bias=False, stop_token=0), batch=token_batch),
    Case("wavenet", lambda: _wavenet(dropout=0.1), batch=token_batch),
    Case(
        "conditional_wavenet",
        lambda: _wavenet(num_classes=3, local_dim=2, num_components=2),
        batch=spoken_batch,
    ),
)

OWN_METHODS = {
    "GPT": ("logits", "extend"),
}
