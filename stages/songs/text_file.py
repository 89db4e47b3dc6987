"""Text files as people save them: UTF-8 with or without a byte order mark, or UTF-16 with one, as spreadsheets do."""

import codecs
from pathlib import Path

from stages.songs.errors import SongsError, shown


def read_text(path: Path, *, advice: str = "") -> str:
    """The text of a file, its line ends as they are.

    Parameters
    ----------
    advice
        What to do about a file that cannot be read.

    Raises
    ------
    SongsError
        The file cannot be read, or is in another encoding.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SongsError(f"{shown(path)}: cannot be read: {reason}{advice and f'; {advice}'}") from error
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise SongsError(f"{shown(path)}: is not UTF-8 text ({error.reason}); save it as UTF-8") from error
