"""Distributed batch processing of images on Ray: every image accounted for exactly once."""

__version__ = "0.1.0"
