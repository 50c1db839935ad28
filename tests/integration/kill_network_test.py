"""Goal: as kill_test.py, with a network between server and worker that is cut, cut in one direction, or loses packets.
Method: a short form of kill_loop.py in network namespaces, with other disturbances each time.
"""

import kill_loop
import network
import pytest


def test_jobs_end_as_if_the_network_had_been_well():
    reason = network.missing()
    if reason:
        pytest.skip(f"network namespaces are not permitted here: {reason}")
    kill_loop.short_form("--network")
