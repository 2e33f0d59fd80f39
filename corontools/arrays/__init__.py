"""Pure functions: arrays in, arrays out. No files, no units, no classes, no logging."""
