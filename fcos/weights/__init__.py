"""Published weights of other implementations, converted from and to their layouts."""
