"""Scores over HTTP: audio in, JSON out, and a page that shows the report. Needs the extra `serve`."""
