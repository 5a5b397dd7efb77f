"""Sources of clips (shards, folders, tensorflow-datasets, stored latents), and their catalogs."""
