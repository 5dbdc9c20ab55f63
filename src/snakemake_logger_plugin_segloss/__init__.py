"""Snakemake's log as a grid's progress: ``--logger segloss``, which profiles/default chooses.

A line for each cell that ends, failures at once with their reason, and on a terminal the cells that are training, with
iteration, speed and time left. Errors and dry runs are shown as Snakemake formats them; its log file has everything.
"""

from logging import WARNING, LogRecord
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

# Snakemake's messages that only repeat the line of a failed cell.
REPEATED = ("RuleException:", "Exiting because a job execution failed", "WorkflowError:\nAt least one job did not")


class LogHandler(LogHandlerBase):
    """Sends Snakemake's events to a `GridView`."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True  # --quiet is for the default log
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        from segloss.records.view import GridView  # Snakemake imports every plugin, used or not

        self.view = GridView(stderr=not self.common_settings.stdout, plain=self.common_settings.nocolor)
        self.jobs: dict[int, tuple[str, Path]] = {}  # the cells' names and folders

    def emit(self, record: LogRecord) -> None:
        """Show one event."""
        settings, event = self.common_settings, getattr(record, "event", None)
        if event == LogEvent.SHELLCMD and not settings.printshellcmds:
            return
        if settings.dryrun and event == LogEvent.JOB_INFO and not settings.verbose:
            if cell := record.wildcards.get("cell"):
                self.view.show(f"{record.rule_name}  {cell}")
        elif settings.dryrun or settings.verbose or event == LogEvent.SHELLCMD:
            self.view.show(self.format(record))
        elif event == LogEvent.RUN_INFO:
            self.view.total += record.stats.get("train", 0)
        elif event == LogEvent.JOB_INFO:
            if cell := record.wildcards.get("cell"):
                self.jobs[record.jobid] = cell, Path(record.output[0]).parent
                self.view.start(*self.jobs[record.jobid])
        elif event == LogEvent.JOB_FINISHED:
            if record.job_id in self.jobs:
                self.view.finish(*self.jobs[record.job_id])
        elif event == LogEvent.JOB_ERROR and record.jobid in self.jobs:
            self.view.fail(*self.jobs[record.jobid])
        elif record.levelno >= WARNING and not record.getMessage().startswith(REPEATED):
            self.view.show(self.format(record))
        elif record.getMessage().startswith("Nothing to be done"):
            self.view.show(record.getMessage())

    def close(self) -> None:
        """End the live part of the view."""
        self.view.close()
        super().close()
