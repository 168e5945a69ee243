"""What tests of several files run on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.secured import Secured


@pytest.fixture
def secured(
    request: pytest.FixtureRequest, consul_bin: Path, tmp_path: Path
) -> Iterator[Secured]:
    """With tokens that live a minute, or as long as its parameter says."""
    lifetime = getattr(request, "param", "60s")
    with Secured.running(consul_bin, tmp_path, lifetime) as running:
        yield running
