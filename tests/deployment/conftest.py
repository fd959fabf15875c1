"""What the integration tests of platforms share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jobs
import pytest
from jobs import JOBS, Job


@pytest.fixture(params=JOBS, ids=lambda job: job.spider)
def job(request: pytest.FixtureRequest) -> Job:
    return request.param


@pytest.fixture(params=[jobs.DUME, jobs.BOAMP], ids=lambda job: job.spider)
def harvest(request: pytest.FixtureRequest) -> Job:
    """A job that collects, and that the next one carries on when it was stopped."""
    return request.param


@pytest.fixture(scope="module")
def sandbox(start_sandbox: Callable[..., Any]) -> Any:
    """The services that the jobs of a module ask."""
    return start_sandbox(*jobs.SANDBOX)
