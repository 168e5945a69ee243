"""Decides which VIP prefers which server: pure functions over values."""
