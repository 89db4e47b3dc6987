"""Evaluation of heads: metrics on a split, tables, plots, and the paper's ablation."""
