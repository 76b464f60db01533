"""What the core stands on and a learner need not read: refusals in one form, words for pictures, shared cores."""
