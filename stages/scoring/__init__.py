"""Score songs, from audio or from a store: a batch's statistics, scores over time, files, a report and a service."""
