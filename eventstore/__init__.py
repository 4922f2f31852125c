"""The memory: everything that was said, in order, for ever."""
