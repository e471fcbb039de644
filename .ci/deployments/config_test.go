package deployments

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
)

// TestConfigurations: "sallyportd check" accepts the configuration of each manifest, with
// the volumes laid out as Kubernetes mounts them, and the policy opens what it listens to.
func TestConfigurations(t *testing.T) {
	program := filepath.Join(t.TempDir(), "sallyportd")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./cmd/sallyportd")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build sallyportd: %v\n%s", err, out)
	}
	for name := range files {
		t.Run(name, func(t *testing.T) {
			m := read(t, name)
			pod, dir := m.pod(t), t.TempDir()
			server := pod.Containers[0]
			out, err := exec.Command(program, "init", filepath.Join(dir, "made"), "--server", "192.0.2.1").CombinedOutput()
			if err != nil {
				t.Fatalf("init: %v\n%s", err, out)
			}
			text := m.config.Data["sallyportd.toml"]
			for _, mount := range server.VolumeMounts {
				at := filepath.Join(dir, mount.Name)
				if err := os.Mkdir(at, 0o700); err != nil {
					t.Fatal(err)
				}
				text = strings.ReplaceAll(text, `"`+mount.MountPath+"/", `"`+at+"/")
			}
			if strings.Contains(text, `"/etc/`) || strings.Contains(text, `"/var/`) || strings.Contains(text, `"/run/`) {
				t.Errorf("the configuration has paths outside of the volumes: %s", text)
			}
			for _, file := range []string{"port_secret", "clients.txt"} {
				mountFile(t, filepath.Join(dir, "secrets"), file, content(t, filepath.Join(dir, "made", file)), 0o440)
			}
			mountFile(t, filepath.Join(dir, "config"), "sallyportd.toml", []byte(text), 0o644)
			path := server.Env[0].Value
			for _, mount := range server.VolumeMounts {
				path = strings.Replace(path, mount.MountPath+"/", filepath.Join(dir, mount.Name)+"/", 1)
			}
			out, err = exec.Command(program, "check", "-c", path).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "\nvalid") {
				t.Errorf("check: %v\n%s", err, out)
			}
			checkPorts(t, m, server)
		})
	}
}

// mountFile writes a file as kubelet does: in a directory with a date, to which the link
// ..data leads; the file's own name is a link through that one.
func mountFile(t *testing.T, dir, name string, text []byte, mode os.FileMode) {
	t.Helper()
	const dated = "..2026_11_28_12_00_00.1"
	if err := os.MkdirAll(filepath.Join(dir, dated), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, dated, name), text, mode); err != nil {
		t.Fatal(err)
	}
	os.Symlink(dated, filepath.Join(dir, "..data")) // exists for a second file
	if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// checkPorts: a policy, if there is one, accepts UDP to all knock ports, and the ports
// of the container, which the configuration listens to.
func checkPorts(t *testing.T, m manifest, server core.Container) {
	t.Helper()
	for _, p := range server.Ports {
		if !strings.Contains(m.config.Data["sallyportd.toml"], fmt.Sprintf(`:%d"`, p.ContainerPort)) {
			t.Errorf("the configuration does not listen at the container's port %d", p.ContainerPort)
		}
	}
	for _, policy := range m.policies {
		var got []string
		for _, rule := range policy.Spec.Ingress {
			for _, p := range rule.Ports {
				to := p.Port.IntVal
				if p.EndPort != nil {
					to = *p.EndPort
				}
				got = append(got, fmt.Sprintf("%s %d-%d", *p.Protocol, p.Port.IntVal, to))
			}
		}
		want := []string{"UDP 1025-65535"}
		for _, p := range server.Ports {
			want = append(want, fmt.Sprintf("TCP %d-%d", p.ContainerPort, p.ContainerPort))
		}
		if !slices.Equal(got, want) {
			t.Errorf("the policy accepts %q, want %q", got, want)
		}
	}
}
