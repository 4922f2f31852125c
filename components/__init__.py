"""The minds and hands: each component writes only its own log, folds only its own log, and hears the others."""
