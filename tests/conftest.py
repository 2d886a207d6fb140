"""What several files of tests share by its name: the small network and its data, where a file makes no others."""

from __future__ import annotations

import pytest
from torch import nn

from small_network import Data, small_data_of, small_network


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return small_network()


@pytest.fixture(scope="module")
def data(model: nn.Module) -> Data:
    return small_data_of(model)
