"""What all tests share."""

import signal

import pytest


@pytest.fixture(autouse=True, scope="session")
def _signals_arrive() -> None:
    """A shell's background jobs ignore SIGINT, and those of nohup SIGHUP: tests send them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
