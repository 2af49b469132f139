"""The report: one HTML file with the answer, the figures with their numbers, every sample, and where all of it comes from."""
