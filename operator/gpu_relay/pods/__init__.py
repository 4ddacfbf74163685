"""The pods of a job, built as data: training pods and preparing pods.

Nothing here calls the API server.
"""
