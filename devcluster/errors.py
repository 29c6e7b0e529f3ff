"""The errors of devcluster: each is one message for the person at the terminal, who then sees exit status 1."""

from __future__ import annotations


class DevclusterError(Exception):
    """Something that the user can read and act on."""


class CommandFailed(DevclusterError):
    """A program that was to do one thing and end did not succeed."""


class ProgramFailed(DevclusterError):
    """A program that was to stay up ended, or was not ready in time; the message carries the tail of its log."""


class Cancelled(DevclusterError):
    """Another part of `up` failed or the user interrupted it."""
