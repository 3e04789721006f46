"""One-shot generative models: the library behind the book. Importing it does nothing but define names."""

__version__ = "0.1.0"
