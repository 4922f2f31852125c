"""A hostile suite: whoever has stolen an identity, or has none, does what it can against a real datacenter."""
