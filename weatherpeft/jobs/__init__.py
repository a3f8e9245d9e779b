"""The jobs of an experiment: the spec of each, what it reads and where it writes.

The workflow's rules ask ``Jobs``. The package imports nothing heavy, so that parsing the workflow stays fast.
"""

from weatherpeft.jobs.tuning import Jobs

__all__ = ["Jobs"]
