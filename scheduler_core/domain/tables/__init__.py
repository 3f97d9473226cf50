"""Tables by the day and the month: what a family is, what is planned for it, in which steps."""
