"""Settings found by many short trainings: what is searched, one trial, the study, and what it leaves behind."""
