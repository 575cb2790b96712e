"""The inference server that goes into images, and the client that checks any such server."""
