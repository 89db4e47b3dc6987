"""What the service has done, for Prometheus."""

import time
from collections.abc import Callable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from stages.scoring.rows import SongScore
from stages.scoring.service.request_log import RequestRecord

# Upper bounds in seconds: from a short clip on a GPU to the time limit.
_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)


class Metrics:
    """The metrics of one application, in a registry of its own.

    Parameters
    ----------
    model
        Hash of everything that affects the scores.

    Attributes
    ----------
    version
        Of this package.
    """

    def __init__(self, model: str) -> None:
        self.version = version("hear-music")
        self._registry = own = CollectorRegistry()
        self._requests = Counter("hear_requests", "Requests that have ended.", ["endpoint", "status"], registry=own)
        self._songs = Counter("hear_songs", "Songs that were scored, or failed.", ["result"], registry=own)
        self._audio = Counter("hear_audio_seconds", "Duration of the scored songs.", registry=own)
        self._scoring = Histogram("hear_scoring_seconds", "Time to score a song.", buckets=_SECONDS, registry=own)
        self._waiting = Histogram("hear_waiting_seconds", "Time in the queue.", buckets=_SECONDS, registry=own)
        for result in ("scored", "failed"):
            self._songs.labels(result)
        begun = time.monotonic()
        self._gauge("hear_uptime_seconds", "Time since the service started.", lambda: time.monotonic() - begun)
        build = Info("hear_build", "Version, and hash of the heads and encoders.", registry=own)
        build.info({"version": self.version, "model": model})

    def watch(self, *, places: Callable[[], float], stored: Callable[[], float]) -> None:
        """Show two values of the queue: places that are taken, and bytes of uploads on disk."""
        self._gauge("hear_queue_places", "Songs and batches that wait or are scored.", places)
        self._gauge("hear_upload_bytes", "Size of all uploads on disk.", stored)

    def count_request(self, record: RequestRecord) -> None:
        """Count a request that has ended."""
        self._requests.labels(record.endpoint, str(record.status)).inc()

    def count_wait(self, seconds: float) -> None:
        """Count the time that a song waited in the queue."""
        self._waiting.observe(seconds)

    def count_song(self, row: SongScore | None, seconds: float) -> None:
        """Count a song that took this many seconds; None: it failed."""
        self._songs.labels("failed" if row is None else "scored").inc()
        self._scoring.observe(seconds)
        self._audio.inc(0.0 if row is None else row.seconds or 0.0)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, about: str, value: Callable[[], float]) -> None:
        Gauge(name, about, registry=self._registry).set_function(value)
