"""Text files of samples, and text streamed while it is sampled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from genjax.arguments import check_arguments
from genjax.data import Tokenizer, decode_texts
from genjax.data.io import replace_file


@check_arguments
def save_texts(path: Path, tokenizer: Tokenizer, x: np.ndarray, stop_token: int | None = None) -> None:
    """Write the texts of tokens (N, T), one per line, or separated by rules if a text has several lines."""
    texts = decode_texts(tokenizer, x, stop_token)
    separator = "\n\n---\n\n" if any("\n" in text for text in texts) else "\n"
    replace_file(path, (separator.join(texts) + "\n").encode())


def stream_text(tokenizer: Tokenizer, stream: IO[str], stop_token: int | None = None) -> Callable[[Any, Any], None]:
    """Return a callback of ``sample`` that writes the first sequence, up to its stop token, as it is drawn."""
    tokens: list[int] = []
    num_written = 0

    def write(number: Any, newest: Any) -> None:
        nonlocal num_written
        del number
        token = int(newest[0])
        if token == stop_token or token < 0:  # −1 marks logits that are not finite
            return
        tokens.append(token)
        text = tokenizer.decode(tokens).rstrip("�")  # bytes of an incomplete character
        stream.write(text[num_written:])
        stream.flush()
        num_written = len(text)

    return write
