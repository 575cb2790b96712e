"""The inference server that answers for a released model, and the client that checks any such."""
