"""The figures: one file for each, with its rows, charts, title and caption."""
