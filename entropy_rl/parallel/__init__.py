"""Meshes, shardings and several processes."""
