"""How a process at scale stops: what it waits for in vain does not make a failure of the stop."""

import asyncio

import pytest

from roamlog.scale import until_asked
from streams.ports import LogUnavailable
from streams.runtimes.worker import Stuck


async def ended_by(fault: Exception) -> None:
    async with asyncio.TaskGroup():
        raise fault


@pytest.mark.parametrize("fault", [LogUnavailable("no broker answers"), Stuck("10 records wait")])
async def test_an_outage_ends_a_worker_in_order_only_once_it_was_asked_to_stop(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    stop = asyncio.Event()
    with pytest.raises(BaseExceptionGroup) as raised:
        await until_asked(stop, ended_by(fault))
    assert raised.group_contains(type(fault))
    stop.set()
    await until_asked(stop, ended_by(fault))
    assert str(fault) in caplog.text


async def test_a_defect_is_a_failure_whenever_it_comes() -> None:
    stop = asyncio.Event()
    stop.set()
    with pytest.raises(BaseExceptionGroup) as raised:
        await until_asked(stop, ended_by(KeyError("x")))
    assert raised.group_contains(KeyError)
