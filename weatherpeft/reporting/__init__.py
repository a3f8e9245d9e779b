"""The parts of the report: scores in tables, figures, and the page that contains them."""
