"""Facts about Windows' tools for drivers, as data with their sources."""
