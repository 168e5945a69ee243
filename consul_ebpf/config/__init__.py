"""The configuration: what may be written (`schema`), and reading it (`load`)."""
