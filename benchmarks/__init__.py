"""The project against what a user would otherwise run, on the same photos, in one run: see RESULTS.md."""
