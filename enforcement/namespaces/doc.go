// Package namespaces knows which mode the label portcullis.dev/mode sets for each
// namespace of the cluster. It watches the namespaces' metadata alone, and keeps nothing
// but their names and that label.
package namespaces
