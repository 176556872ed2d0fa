"""Videos on disk: datasets, index, label protocols, decoding, clips and loaders."""
