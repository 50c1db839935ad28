"""Goal: whatever is killed or stopped at whatever moment, every job ends as if nothing had been. Method: a short form
of kill_loop.py, with other disturbances each time.
"""

import kill_loop


def test_jobs_end_as_if_no_process_had_been_killed_or_stopped():
    kill_loop.short_form()
