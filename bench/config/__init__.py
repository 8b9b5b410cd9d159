"""The configuration: fields, schema, parsing, messages, identity of a run."""
