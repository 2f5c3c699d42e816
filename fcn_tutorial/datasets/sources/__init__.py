"""The data sets there are, by name. A new one is a file beside this and a line below.

A checksum or a size in bytes stands in these files only where a public source gives it.
"""

from __future__ import annotations

from collections.abc import Iterable

from fcn_tutorial.datasets.source import Source
from fcn_tutorial.datasets.sources.camvid import CAMVID
from fcn_tutorial.datasets.sources.folder import FOLDER
from fcn_tutorial.datasets.sources.isbi import ISBI_EM
from fcn_tutorial.datasets.sources.nyud import NYUD
from fcn_tutorial.datasets.sources.rooms import ROOMS
from fcn_tutorial.datasets.sources.scenes import SCENES
from fcn_tutorial.datasets.sources.siftflow import SIFTFLOW
from fcn_tutorial.datasets.sources.voc import SBD, VOC, VOC2011, VOC2012
from fcn_tutorial.files import did_you_mean

__all__ = ["SOURCES", "get"]


def _by_name(sources: Iterable[Source]) -> dict[str, Source]:
    return {source.name: source for source in sources}


SOURCES: dict[str, Source] = _by_name(
    (SCENES, ROOMS, CAMVID, VOC2011, VOC2012, SBD, VOC, NYUD, SIFTFLOW, ISBI_EM, FOLDER)
)


def get(name: str) -> Source:
    """The data set of that name.

    Raises:
        ValueError: for an unknown name, with the nearest ones.
    """
    if name in SOURCES:
        return SOURCES[name]
    raise ValueError(f"no data set {name!r}{did_you_mean(name, SOURCES)}")
