"""Where a store's objects are kept: on a local disk or in an object store."""
