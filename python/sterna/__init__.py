"""Image data sets kept far away, in shuffled batches."""
