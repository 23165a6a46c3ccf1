"""The verbs of the command line. Modules here import only light things at their top: `--help` must stay quick."""
