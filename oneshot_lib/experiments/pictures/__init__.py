"""The book's own question: what the file that a drawing comes in costs."""
