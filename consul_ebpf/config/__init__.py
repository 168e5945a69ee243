"""The configuration: what a file may hold (`schema`), and what reads it (`load`)."""
