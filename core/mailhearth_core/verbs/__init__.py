"""The verbs that web, API, command line and operator share."""
