"""The only code that talks to the outside: the Kubernetes API, the residents, the trainers."""
