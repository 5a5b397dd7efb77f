"""Training objectives: each task defines its parameters, its loss and its evaluation."""
