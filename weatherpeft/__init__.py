"""WeatherPEFT: adapt weather foundation models to a task, from raw reanalysis to a scored report."""

__version__ = "0.1.0"
