"""What single studies need beside their script."""
