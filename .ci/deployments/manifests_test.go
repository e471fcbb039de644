package deployments

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	network "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

const manifests = "../../container/kubernetes/"

// manifest has the objects of a file.
type manifest struct {
	namespace core.Namespace
	config    core.ConfigMap
	claims    []core.PersistentVolumeClaim
	policies  []network.NetworkPolicy
	daemons   []apps.DaemonSet
	deployed  []apps.Deployment
}

// pod returns the specification of the only pod.
func (m manifest) pod(t *testing.T) core.PodSpec {
	t.Helper()
	var pods []core.PodSpec
	for _, d := range m.daemons {
		pods = append(pods, d.Spec.Template.Spec)
	}
	for _, d := range m.deployed {
		pods = append(pods, d.Spec.Template.Spec)
	}
	if len(pods) != 1 {
		t.Fatalf("got %d pods, want one", len(pods))
	}
	return pods[0]
}

// read decodes a file strictly: an unknown key, a key that comes twice, and a value of
// another type than the schema's are errors.
func read(t *testing.T, name string) (m manifest) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(manifests, name))
	if err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		if err := m.add([]byte(document)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return m
}

func (m *manifest) add(document []byte) error {
	var kind struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(document, &kind); err != nil {
		return err
	}
	switch kind.APIVersion + " " + kind.Kind {
	case "v1 Namespace":
		return yaml.UnmarshalStrict(document, &m.namespace)
	case "v1 ConfigMap":
		return yaml.UnmarshalStrict(document, &m.config)
	case "v1 PersistentVolumeClaim":
		return decode(document, &m.claims)
	case "networking.k8s.io/v1 NetworkPolicy":
		return decode(document, &m.policies)
	case "apps/v1 DaemonSet":
		return decode(document, &m.daemons)
	case "apps/v1 Deployment":
		return decode(document, &m.deployed)
	}
	return &unknownKindError{kind.APIVersion, kind.Kind}
}

func decode[T any](document []byte, list *[]T) error {
	var object T
	if err := yaml.UnmarshalStrict(document, &object); err != nil {
		return err
	}
	*list = append(*list, object)
	return nil
}

type unknownKindError struct{ version, kind string }

func (e *unknownKindError) Error() string { return "unknown kind " + e.version + " " + e.kind }

// TestStrict: read finds the usual mistakes.
func TestStrict(t *testing.T) {
	for what, document := range map[string]string{
		"unknown key": "apiVersion: apps/v1\nkind: DaemonSet\nspec: {template: {spec: {hostNetworks: true}}}",
		"wrong type":  "apiVersion: apps/v1\nkind: Deployment\nspec: {replicas: many}",
		"key twice":   "apiVersion: v1\nkind: ConfigMap\ndata: {a: b, a: c}",
		"old version": "apiVersion: extensions/v1beta1\nkind: Deployment",
	} {
		if err := new(manifest).add([]byte(document)); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
