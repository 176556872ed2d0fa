"""The decoders behind ssar.data.reader, a file each; a file is imported only when its decoder is used."""
