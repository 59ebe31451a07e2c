from pathlib import Path

import pytest
from tests.pipeline.world import Kitchen


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path)
