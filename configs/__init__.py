"""One short file a run; its docstring is its command, hardware and expected figures."""
