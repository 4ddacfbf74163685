"""What publishes the project, the site of the documentation and releases, and the check of its words."""
