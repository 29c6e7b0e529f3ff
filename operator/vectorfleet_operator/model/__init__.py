"""The VectorCollection as the user writes it, its status, and what was observed of a fleet."""
