"""What a person sees and types, in pure Python: progress, flag files, ranges of numbers."""
