"""The one exception that a user is meant to read."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(Exception):
    """A mistake outside the code: a config value, a missing file, a broken video.

    The message says what is wrong, where (file, key, line), and what to do. The command line prints it
    without a traceback and exits with status 1.
    """

    @classmethod
    def of(cls, heading: str, problems: Iterable[str]) -> UserError:
        """One error that lists every problem, a line each."""
        return cls("\n".join([heading, *(f"  - {problem}" for problem in problems)]))
