"""What stops the demo: one sentence for a human, shown without a traceback."""


class DemoError(Exception):
    """The demo cannot go on, or what it was to show did not hold."""
