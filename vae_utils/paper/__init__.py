"""What lessons 05 to 07 add for the rest of the paper: its rivals, its estimators, its appendices."""
