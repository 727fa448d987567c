"""Convert the published Inception weights from PyTorch to safetensors.

    python -m genjax.metrics.features.convert_inception pt_inception-2015-12-05-6726825d.pth inception.safetensors

needs PyTorch, which is used nowhere else. The metadata of the output holds the SHA-256 of the original file.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

from genjax.metrics.features.inception import FID_WEIGHTS_SHA256, check_tensors, tensor_shapes


def convert(source: Path, target: Path) -> str:
    """Write the tensors of the network, and return the SHA-256 of the source.

    Raises:
      OSError: if the source cannot be read or the target cannot be written.
      ValueError: if PyTorch cannot read the source as tensors alone, or it is not the Inception network of FID.
    """
    import torch  # pyright: ignore[reportMissingImports]
    from safetensors.numpy import save

    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # the type depends on how the file is damaged
        cause = type(error).__name__
        raise ValueError(f"{source} is not a PyTorch file of tensors ({cause}); give the published .pth") from error
    if not isinstance(state, Mapping):
        raise ValueError(f"{source} holds a {type(state).__name__}, not named tensors; give the published .pth")
    check_tensors(state)
    tensors = {name: state[name].detach().float().numpy() for name in tensor_shapes()}
    target.write_bytes(save(tensors, {"sha256": digest, "source": source.name}))
    return digest


def main(arguments: list[str]) -> int:
    """Run the command and return its exit status."""
    wants_help = arguments[:1] in (["-h"], ["--help"])
    if len(arguments) != 2 or wants_help:
        print(__doc__)
        return 0 if wants_help else 2
    source, target = map(Path, arguments)
    try:
        digest = convert(source, target)
    except ImportError:
        print("converting needs PyTorch: pip install torch", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {target} from {source}, sha256 {digest[:8]}…")
    if not digest.startswith(FID_WEIGHTS_SHA256):
        print(
            f"warning: the weights of FID have sha256 {FID_WEIGHTS_SHA256}…; distances on these weights are not FID",
            file=sys.stderr,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
