"""Operations on whole stores: verify, merge, prune, describe, and HDF5."""
