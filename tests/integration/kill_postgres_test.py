"""Goal: as kill_test.py, with two servers over PostgreSQL, both of which are killed, and with the database, which is.
Method: a short form of kill_loop.py, with other disturbances each time.
"""

import kill_loop


def test_jobs_end_as_if_no_server_and_no_database_had_been_killed():
    kill_loop.short_form("--store", "postgresql")
