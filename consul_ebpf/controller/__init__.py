"""Where the parts meet: each round, and what follows from it."""
