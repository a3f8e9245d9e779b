"""What the stage ``report`` writes: scores in tables, figures, and the page that holds them."""
