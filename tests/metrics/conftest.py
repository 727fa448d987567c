"""Other libraries that the metrics are compared with."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from unittest import mock

import pytest

PARTS = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")


@pytest.fixture(scope="session")
def torch_fidelity() -> ModuleType:
    """Return torch-fidelity; a mock replaces torchvision if absent, because no test uses the parts that need it."""
    pytest.importorskip("torch", exc_type=ImportError)
    try:
        importlib.import_module("torchvision")
        absent = {}
    except ImportError:
        absent = {name: mock.MagicMock() for name in PARTS}
    with mock.patch.dict(sys.modules, absent):
        for part in ("metric_fid", "feature_extractor_inceptionv3", "metric_isc", "metric_kid"):
            pytest.importorskip(f"torch_fidelity.{part}", exc_type=ImportError)
        return importlib.import_module("torch_fidelity")
