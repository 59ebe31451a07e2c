"""Files and conversations: readers for every common format, chat templates, splits and checks."""
