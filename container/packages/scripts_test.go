package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestScripts runs the scripts of each format with the arguments of its package manager. The
// functions only print their names.
func TestScripts(t *testing.T) {
	r := release{source: filepath.Join("..", ".."), stage: t.TempDir()}
	for _, row := range []struct{ format, script, args, want string }{
		{"deb", "installed", "configure", "installed new"},
		{"deb", "installed", "configure 1.2.2-1", "installed upgrade"},
		{"deb", "installed", "abort-remove", ""},
		{"deb", "removing", "remove", "removing"},
		{"deb", "removing", "upgrade 1.2.3-1", ""},
		{"deb", "removed", "remove", "removed"},
		{"deb", "removed", "upgrade 1.2.3-1", ""},
		{"deb", "removed", "purge", "purged"},
		{"rpm", "installed", "1", "installed new"},
		{"rpm", "installed", "2", "installed upgrade"},
		{"rpm", "removing", "1", ""},
		{"rpm", "removing", "0", "removing"},
		{"rpm", "removed", "1", ""},
		{"rpm", "removed", "0", "removed"},
		{"apk", "before", "1.2.3-r1", "make_user"},
		{"apk", "installed", "1.2.3-r1", "installed new"},
		{"apk", "upgraded", "1.2.3-r1 1.2.2-r1", "installed upgrade"},
		{"apk", "removing", "1.2.3-r1", "removing"},
		{"apk", "removed", "1.2.3-r1", "removed"},
	} {
		if _, err := r.scripts(row.format); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(r.stage, "scripts", row.format, row.script))
		if err != nil {
			t.Fatal(err)
		}
		call := lastLine(string(text))
		functions := strings.TrimSuffix(string(text), call+"\n")
		stubs := "\nmake_user() { echo make_user; }\ninstalled() { echo installed $1; }\nremoving() { echo removing; }\nremoved() { echo removed; }\npurged() { echo purged; }\n"
		c := exec.Command("sh", append([]string{"-c", functions + stubs + call, "script"}, strings.Fields(row.args)...)...)
		out, err := c.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != row.want {
			t.Errorf("%s %s %s: got %q, %v, want %q", row.format, row.script, row.args, got, err, row.want)
		}
	}
}

func lastLine(text string) string {
	text = strings.TrimRight(text, "\n")
	return text[strings.LastIndex(text, "\n")+1:]
}
