"""The climatology of a day: how it is made of a training period, and how it is read."""
