"""How good predictions are: metrics, tables and plots."""
