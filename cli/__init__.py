"""The mouth: parses, asks, prints. Nothing else in the house prints."""
