"""Text to token ids, rows and MindRecord shards: tokenizer, template, encoder, packing."""
