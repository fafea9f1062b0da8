"""Before a disk becomes an image: what is left of this VM, and removing it."""
