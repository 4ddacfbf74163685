"""The `gpurelay.dev/v1alpha1` API: its types, its words, and the CRD generated from them."""
