"""The webhook's certificates: its own, or those in files."""
