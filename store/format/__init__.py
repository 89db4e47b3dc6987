"""What a store is made of, byte by byte: keys, metadata, arrays and storage types."""
