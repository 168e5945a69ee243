"""What an Envoy needs of us: its bootstrap, and the files that hold it."""
