"""Making libraries: which scenarios are wanted, round after round; what is a near-duplicate; what a library is worth."""
