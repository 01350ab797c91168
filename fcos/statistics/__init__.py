"""Statistics that the driver and the reports share; numpy and the standard library alone."""
