"""What the core needs, and a learner does not have to read: error messages, words for pictures, shared cores."""
