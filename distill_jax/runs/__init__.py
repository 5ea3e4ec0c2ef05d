"""The kinds of run that Gin files configure: the jobs, and how one is started."""
