"""From a store and a manifest to the batches of an epoch."""
