"""ENS-10: ten members of ECMWF's ensemble hindcasts of twenty years."""
