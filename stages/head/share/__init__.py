"""Sharing heads on a hub: model cards, push and pull."""
