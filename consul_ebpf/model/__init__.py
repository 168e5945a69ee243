"""What flows: values, seams, errors, addresses, names. Standard library only."""
