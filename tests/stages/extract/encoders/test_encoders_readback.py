"""A result that waits to be fetched, without a GPU."""

import gc
import threading
from types import SimpleNamespace

import numpy as np
import torch

from stages.extract.encoders.readback import Waiting


def waiting(places):
    copies = [torch.arange(6.0).view(1, 2, 3), torch.tensor([0.0, 5.0])]
    return Waiting(copies, SimpleNamespace(synchronize=lambda: None), places)


def test_a_fetched_result_leaves_pinned_memory_once():
    places = threading.Semaphore(0)
    fetch = waiting(places)
    pinned = fetch._copies[0].numpy()
    frames = fetch().frames
    pinned[:] = -1  # the next song's result
    np.testing.assert_array_equal(frames, np.arange(6.0).reshape(1, 2, 3))
    assert fetch().frames is frames
    assert places.acquire(blocking=False)
    assert not places.acquire(blocking=False)


def test_a_result_that_nobody_fetches_makes_room():
    places = threading.Semaphore(0)
    fetch = waiting(places)
    del fetch
    gc.collect()
    assert places.acquire(blocking=False)
