"""Output in a bucket: addresses, objects with retries, manifests, and the folders that they are copied from and to."""
