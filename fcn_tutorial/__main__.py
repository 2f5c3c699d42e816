"""`python -m fcn_tutorial` is the command `fcn-tutorial`."""

import sys

from fcn_tutorial.cli import main

sys.exit(main())
