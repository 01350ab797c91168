"""Statistics that sweeps stop by and reports are written from; numpy alone."""
