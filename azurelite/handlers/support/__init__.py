"""What several handlers share. No handler of its own."""
