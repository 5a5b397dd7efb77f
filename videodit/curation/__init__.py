"""Raw video to a dataset: what is cut, described, encoded and written."""
