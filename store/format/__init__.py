"""The bytes of a store: keys, metadata, arrays and storage types."""
