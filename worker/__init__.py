"""One HTTP request to every pod behind a headless Service, and proof that it arrived."""

__version__ = "0.1.0"
