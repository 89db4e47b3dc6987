"""Output of the commands: text, tables and progress bars."""
