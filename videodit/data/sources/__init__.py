"""Where clips come from (shards, folders, tensorflow-datasets, stored latents), and catalogs."""
