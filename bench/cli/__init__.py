"""Parse the command lines and print what came out."""
