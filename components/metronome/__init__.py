"""Metronome: runs jobs that end, now or on a schedule."""
