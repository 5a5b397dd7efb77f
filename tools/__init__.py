"""Commands that an engineer runs beside training. They import videodit, never the reverse."""
