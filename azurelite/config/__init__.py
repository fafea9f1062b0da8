"""YAML with places to typed, frozen settings; every mistake at once. Does not know the options of a handler."""
