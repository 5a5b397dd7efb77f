"""What an engineer runs beside training; imports videodit, never imported by it."""
