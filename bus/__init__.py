"""The language: nouns, events, subjects, and the bus they travel on."""
