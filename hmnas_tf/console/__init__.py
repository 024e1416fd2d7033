"""What a person sees and types, in pure Python: progress, flag files, paths, ranges of numbers, being told to stop."""
