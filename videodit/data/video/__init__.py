"""Video files to RGB frames and back."""
