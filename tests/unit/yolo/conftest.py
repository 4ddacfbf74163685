import os

import pytest

# Before any test imports Ultralytics, which reads them then.
os.environ |= {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
ULTRALYTICS = "test_ultralytics"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the tests of a file run in one process, and all that import Ultralytics in the same one (loadgroup)."""
    for item in items:
        group = ULTRALYTICS if item.path.stem.startswith(ULTRALYTICS) else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))
