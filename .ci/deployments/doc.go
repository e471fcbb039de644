// Package deployments tests the manifests for Kubernetes in container/kubernetes, and the
// file for cloud-init. Its module is separate, because only these tests require the types
// of Kubernetes.
package deployments
