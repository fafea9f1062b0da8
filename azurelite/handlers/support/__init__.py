"""Code that several handlers share. It defines no handler."""
