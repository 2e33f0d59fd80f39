"""A report of a whole reduction, as one HTML page that needs nothing else."""

from corontools.coron.report.page import report

__all__ = ["report"]
