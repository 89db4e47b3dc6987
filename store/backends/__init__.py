"""Storage of a store's objects: a local disk or an object store."""
