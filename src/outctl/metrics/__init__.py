"""Divergences, scores, references and statistics."""
