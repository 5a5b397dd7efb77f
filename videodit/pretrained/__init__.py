"""Models that others trained: their weights' files, and (later) their layers and name maps."""
