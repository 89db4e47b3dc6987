"""Values from strangers' files in messages: shown as Python writes them, and cut where they are long or nested."""

import reprlib

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 100
_BRIEF.maxlist = _BRIEF.maxdict = _BRIEF.maxtuple = 10


def brief(value: object) -> str:
    """A value on one line of bounded length; `repr` of a nested one may not even end."""
    return _BRIEF.repr(value)
