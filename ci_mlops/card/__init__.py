"""The model card, made of evidence and what people know; and which evidence answers which law."""
