"""How good a forecast is: scores, the climatology they refer to, and the baselines to beat."""
