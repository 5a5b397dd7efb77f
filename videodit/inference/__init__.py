"""Trained models as libraries: requests to clips, video to latents and back."""
