"""The `gpurelay.dev/v1alpha1` API: its types and names, and the CRD generated from them."""
