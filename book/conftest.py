"""Nobody sits at the figures of a chapter that pytest runs."""

import os

os.environ.setdefault("FCN_TUTORIAL_BATCH", "1")
