"""Scores over HTTP: audio in, JSON out, and the report as its page. Needs the extra `serve`."""
