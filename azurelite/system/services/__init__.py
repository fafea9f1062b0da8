"""Init systems and their services, and power."""
