"""Sources of pictures, packed once into arrays that are mapped into memory, and drawn as batches."""
