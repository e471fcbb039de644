package deployments

import (
	"flag"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const container = "../../container/"

// cloudConfig has the keys of cloud-init's schema that the file uses.
type cloudConfig struct {
	Users      []any `json:"users"` // the word default, or a user
	WriteFiles []struct {
		Path        string `json:"path"`
		Permissions string `json:"permissions"`
		Content     string `json:"content"`
	} `json:"write_files"`
	RunCmd [][]string `json:"runcmd"`
}

var update = flag.Bool("update", false, "write the copies in cloud-init.yaml")

// copies are the files of container/ that cloud-init.yaml has, by their paths there.
var copies = map[string]string{
	"/etc/systemd/system/sallyportd.service":          "sallyportd.service",
	"/etc/systemd/system/sallyportd-firewall.service": "sallyportd-firewall.service",
	"/etc/sysctl.d/60-sallyport.conf":                 "sysctl-sallyport.conf",
}

// writeCopies replaces the copies in the text of cloud-init.yaml.
func writeCopies(t *testing.T, text string) string {
	t.Helper()
	for path, name := range copies {
		before, rest, found := strings.Cut(text, "  - path: "+path+"\n")
		if !found {
			t.Fatalf("no copy of %s", name)
		}
		_, after, _ := strings.Cut(rest, "\n  - path: ")
		var b strings.Builder
		for line := range strings.Lines(string(content(t, container+name))) {
			if line != "\n" {
				b.WriteString("      ")
			}
			b.WriteString(line)
		}
		text = before + "  - path: " + path + "\n    permissions: \"0644\"\n    content: |\n" + b.String() + "  - path: " + after
	}
	return text
}

// TestCloudInit: the file has the units and limits of the repository, and installs the
// server by the commands of the guide.
func TestCloudInit(t *testing.T) {
	text := content(t, container+"cloud-init.yaml")
	if *update {
		text = []byte(writeCopies(t, string(text)))
		if err := os.WriteFile(container+"cloud-init.yaml", text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.HasPrefix(string(text), "#cloud-config\n") {
		t.Error("the first line is not #cloud-config")
	}
	var c cloudConfig
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		t.Fatal(err)
	}
	missing := maps.Clone(copies)
	var script string
	for _, f := range c.WriteFiles {
		name, known := copies[f.Path]
		switch {
		case known && f.Permissions == "0644" && f.Content == string(content(t, container+name)):
			delete(missing, f.Path)
		case known:
			t.Errorf("%s is not a copy of container/%s that all users may read", f.Path, name)
		case script != "":
			t.Errorf("%s: unexpected", f.Path)
		case !slices.EqualFunc(c.RunCmd, [][]string{{"sh", f.Path}}, slices.Equal[[]string]):
			t.Errorf("runcmd is %q, want sh %s alone", c.RunCmd, f.Path)
		default:
			script = f.Content
		}
	}
	if len(missing) > 0 {
		t.Errorf("no copies of %v: run go test -run TestCloudInit -update", missing)
	}
	guide, err := exec.Command("../guide", "../..", "systemd", "install").Output()
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for line := range strings.Lines(string(guide)) {
		if strings.HasPrefix(line, "install ") || strings.HasPrefix(line, "useradd ") {
			continue // cloud-init has other means
		}
		compared++
		if !strings.Contains(script, "\n"+line) {
			t.Errorf("the script lacks a command of the guide: %s", line)
		}
	}
	if compared < 4 {
		t.Errorf("compared %d commands, want more", compared)
	}
	check := exec.Command("sh", "-n")
	check.Stdin = strings.NewReader(script)
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("the script: %v: %s", err, out)
	}
}

// TestSysctl: the kernel knows each limit, also the optional ones.
func TestSysctl(t *testing.T) {
	limits := 0
	for line := range strings.Lines(string(content(t, container+"sysctl-sallyport.conf"))) {
		key, _, found := strings.Cut(strings.TrimPrefix(line, "# "), " = ")
		if !found {
			continue
		}
		limits++
		if _, err := os.Stat("/proc/sys/" + strings.ReplaceAll(key, ".", "/")); err != nil {
			t.Error(err)
		}
	}
	if limits != 3 {
		t.Errorf("got %d limits, want 3", limits)
	}
}
