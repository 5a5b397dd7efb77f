"""How to predict a run's memory, time and cost."""
