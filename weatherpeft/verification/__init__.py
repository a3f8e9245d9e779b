"""How good a forecast is: its scores."""
