"""What commands show: text, tables and progress bars."""
