"""The embedding store: what stage one writes and everybody else reads. numpy and zarr only."""
