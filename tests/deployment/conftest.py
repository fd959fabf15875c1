"""What the integration tests of platforms share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from jobs import JOBS, Job


@pytest.fixture(params=JOBS, ids=lambda job: job.spider)
def job(request: pytest.FixtureRequest) -> Job:
    return request.param


@pytest.fixture
def sandbox(job: Job, start_sandbox: Callable[..., Any]) -> Any:
    """The sandbox of the job."""
    return start_sandbox(*job.sandbox)
