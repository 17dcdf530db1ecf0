"""What finished models are used for: generate."""
