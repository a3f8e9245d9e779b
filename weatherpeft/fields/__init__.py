"""What a field is: grids, regions, variables, and how fields are brought to another grid."""
