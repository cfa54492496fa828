"""The one version number, read by the build and by every file that states it."""

__version__ = "0.2.0"
