"""What a training takes: memory by item, choices that fit, and shapes that are known without reading a series."""
