"""Scores for people: any number of songs from audio or a store, their spread, their course, files and a report."""
