"""What commands share besides the command line."""
