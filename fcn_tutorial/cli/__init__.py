# PYTHON_ARGCOMPLETE_OK: the shell may ask this program what completes a line.
"""The command line: one verb for each thing a person does.

Exit status: 0 done, 1 a clear error, 2 wrong usage, 130 stopped by the user.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fcn_tutorial import __version__
from fcn_tutorial.cli import completing, data, doctor, models, train


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = _parser()
    completing.answer(parser)
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
        return status
    except (ValueError, OSError) as error:
        from fcn_tutorial.datasets.own.wording import as_settings

        print(f"fcn-tutorial: {as_settings(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fcn-tutorial: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fcn-tutorial", description="Fully convolutional networks: train, score, predict."
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    train.add_to(verbs)
    models.add_to(verbs)
    data.add_to(verbs)
    doctor.add_to(verbs)
    return parser
