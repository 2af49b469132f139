"""Results and questions in the formats of other tools: Inspect and lm-evaluation-harness."""
