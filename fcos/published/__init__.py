"""Published archives of sweeps: their layout, records and metadata, written and read back without trust in them."""
