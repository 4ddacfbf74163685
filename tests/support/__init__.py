"""What several layers of tests share, and nothing else uses: pages of the docs, browser, plugin, rights, CRD specs.

What demo, benchmarks or tools use, too, is in `devcluster`, `demo` or `bench`.
"""
