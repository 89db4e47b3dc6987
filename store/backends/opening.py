"""The one place that opens either backend."""

from store.backends.local import LocalObjects
from store.backends.objects import Objects


def open_objects(root: str) -> Objects:
    """Choose the backend: a path or `file://` URL is local, any other URL goes through fsspec.

    Raises
    ------
    StoreError
        fsspec does not know the protocol, or the package for it is not installed.
    """
    protocol, separator, path = root.partition("://")
    if not separator or protocol in ("file", "local"):
        return LocalObjects(path if separator else root)
    from store.backends.remote import RemoteObjects

    return RemoteObjects(root)
