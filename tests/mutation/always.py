"""The mutants that are tried in every run, beside the sample."""

from __future__ import annotations

# These survived the tests once, and each would have cost a user their VM. (file, text, text in its place)
ALWAYS = [
    # A script runs twice after a power cut.
    ("azurelite/run/steps.py", "lasting=one.runs_programs", "lasting=False"),
    # The user data of a first boot are cut off at the deadline for Ready.
    ("azurelite/run/steps.py", "self.system.commands.limit = None", "pass"),
    # No time is left to tell Azure what went wrong.
    ("azurelite/fabric/client.py", "min(_LEAST_RESERVE, seconds / 2)", "0.0"),
    # IMDS is waited for as long as if there were no disc.
    (
        "azurelite/datasource/crawl.py",
        "deadline = deadline.within(_IMDS_WAIT_BESIDE_MEDIA)",
        "pass",
    ),
    # A plug-in's interpreter inherits the run's connections.
    (
        "azurelite/system/child.py",
        "pass_fds=(writing,) if keep is None else (writing, keep)",
        "pass_fds=tuple(n for n in range(3, 1024) if os.path.exists(f'/proc/self/fd/{n}'))",
    ),
]
