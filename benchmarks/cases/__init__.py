"""The comparisons, by the name that `--only` takes, in the order in which they run."""

from collections.abc import Callable

from benchmarks.cases import determinism, heads, metrics, patches, published, upsampling
from benchmarks.rows import Line
from benchmarks.timing import Settings

CASES: dict[str, Callable[[Settings], list[Line]]] = {
    "upsampling": upsampling.lines,
    "determinism": determinism.lines,
    "metrics": metrics.lines,
    "patches": patches.lines,
    "published": published.lines,
    "heads": heads.lines,
}
