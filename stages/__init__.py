"""What the work is, in the data's order: songs, extract, head, evaluate, probe."""

from stages.common.machine import prepare_openmp

# Before any module of ours loads torch or scikit-learn.
prepare_openmp()
