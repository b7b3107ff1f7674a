"""What a good engineer would write in an evening instead: each file runs by itself and keeps nothing when killed."""
