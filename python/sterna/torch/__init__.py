"""sterna for PyTorch."""
