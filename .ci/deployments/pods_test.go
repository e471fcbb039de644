package deployments

import (
	"slices"
	"testing"

	core "k8s.io/api/core/v1"
)

// files are the manifests, each with whether its pod has the network of the node.
var files = map[string]bool{"daemonset.yaml": true, "deployment.yaml": false}

// TestPods: names match, no container runs as root or gains more than it must, and the
// secrets are mounted so that the server accepts them.
func TestPods(t *testing.T) {
	for name, host := range files {
		t.Run(name, func(t *testing.T) {
			m := read(t, name)
			pod := m.pod(t)
			if pod.HostNetwork != host {
				t.Errorf("hostNetwork is %v, want %v", pod.HostNetwork, host)
			}
			for _, d := range m.daemons {
				sameNames(t, m.namespace.Name, d.Namespace, d.Spec.Selector.MatchLabels, d.Spec.Template.Labels)
			}
			for _, d := range m.deployed {
				sameNames(t, m.namespace.Name, d.Namespace, d.Spec.Selector.MatchLabels, d.Spec.Template.Labels)
				if *d.Spec.Replicas != 1 || d.Spec.Strategy.Type != "Recreate" {
					t.Error("two servers can run at a time, with one record of nonces")
				}
			}
			if m.config.Namespace != m.namespace.Name {
				t.Errorf("the configuration is in the namespace %q, want %q", m.config.Namespace, m.namespace.Name)
			}
			checkVolumes(t, m, pod)
			s := pod.SecurityContext
			if !*s.RunAsNonRoot || *s.RunAsUser != 65532 || *s.FSGroup != 65532 || s.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
				t.Errorf("the pod's security context is %v", s)
			}
			for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
				checkContainer(t, pod, c)
			}
		})
	}
}

func sameNames(t *testing.T, namespace, got string, selector, labels map[string]string) {
	t.Helper()
	if got != namespace {
		t.Errorf("the namespace is %q, want %q", got, namespace)
	}
	for key, value := range selector {
		if labels[key] != value {
			t.Errorf("the selector has %s=%s, the pod %q", key, value, labels[key])
		}
	}
	if len(selector) == 0 {
		t.Error("the selector is empty")
	}
}

func checkVolumes(t *testing.T, m manifest, pod core.PodSpec) {
	t.Helper()
	var secrets int
	for _, v := range pod.Volumes {
		switch {
		case v.ConfigMap != nil && v.ConfigMap.Name != m.config.Name:
			t.Errorf("the volume %s is of the configuration %q, want %q", v.Name, v.ConfigMap.Name, m.config.Name)
		case v.Secret != nil:
			secrets++
			if v.Secret.SecretName != "sallyport" || *v.Secret.DefaultMode != 0o440 {
				t.Errorf("the volume %s: secret %q with mode %o, want sallyport with 440", v.Name, v.Secret.SecretName, *v.Secret.DefaultMode)
			}
		case v.PersistentVolumeClaim != nil:
			if len(m.claims) != 1 || m.claims[0].Name != v.PersistentVolumeClaim.ClaimName || m.claims[0].Namespace != m.namespace.Name {
				t.Errorf("the volume %s has no claim", v.Name)
			}
		}
	}
	if secrets != 1 {
		t.Errorf("got %d volumes of secrets, want 1", secrets)
	}
}

// checkContainer: the holder has NET_ADMIN, which its file grants, and the server nothing.
func checkContainer(t *testing.T, pod core.PodSpec, c core.Container) {
	t.Helper()
	s, holder := c.SecurityContext, slices.Equal(c.Args, []string{"firewall", "hold"})
	var want []core.Capability
	if holder {
		want = []core.Capability{"NET_ADMIN"}
		if c.RestartPolicy == nil || *c.RestartPolicy != core.ContainerRestartPolicyAlways {
			t.Errorf("%s would end before the server starts", c.Name)
		}
	} else if !slices.Equal(c.Args, []string{"serve"}) {
		t.Errorf("%s has the arguments %q", c.Name, c.Args)
	}
	if !slices.Equal(s.Capabilities.Add, want) || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) {
		t.Errorf("%s adds %v and drops %v", c.Name, s.Capabilities.Add, s.Capabilities.Drop)
	}
	if *s.AllowPrivilegeEscalation != holder || !*s.ReadOnlyRootFilesystem {
		t.Errorf("%s may gain privileges: %v; its root is read-only: %v", c.Name, *s.AllowPrivilegeEscalation, *s.ReadOnlyRootFilesystem)
	}
	for _, mount := range c.VolumeMounts {
		i := slices.IndexFunc(pod.Volumes, func(v core.Volume) bool { return v.Name == mount.Name })
		if i < 0 {
			t.Errorf("%s mounts the volume %q, which does not exist", c.Name, mount.Name)
		} else if v := pod.Volumes[i]; (v.Secret != nil || v.ConfigMap != nil) != mount.ReadOnly {
			t.Errorf("%s mounts %q read-only: %v", c.Name, mount.Name, mount.ReadOnly)
		}
	}
	if len(c.VolumeMounts) != len(pod.Volumes) {
		t.Errorf("%s mounts %d volumes, want all %d", c.Name, len(c.VolumeMounts), len(pod.Volumes))
	}
}
