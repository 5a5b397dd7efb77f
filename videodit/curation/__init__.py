"""Raw video to a dataset: what is cut out, described, encoded and written."""
