"""The configuration: typed sections with their defaults, the schema, and checks across sections."""
