"""`make report`: every access key of a stack, how old it is, when it was last used, and what is overdue."""
