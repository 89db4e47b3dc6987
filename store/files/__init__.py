"""Files and text that a stranger may have made: read safely, written whole."""
