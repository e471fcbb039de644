package guides

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	g, err := parse("guide.md", "text\n<!-- run: client append ~/.ssh/config -->\n```sshconfig\nHost work\n```\n"+
		"```console\n$ one \\\n  more\nout\n\n$ sallyportd serve -c x\n$ go test ./...\n```\n<!-- run: docker image -->\n```console\n$ two\n```\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(g.blocks) != 3 || g.commands() != 4 {
		t.Fatalf("%d blocks, %d commands", len(g.blocks), g.commands())
	}
	b := g.blocks[0]
	if b.mark != (mark{client: true, action: "append", of: "~/.ssh/config"}) || b.text != "Host work\n" {
		t.Errorf("%+v", b)
	}
	commands := g.blocks[1].commands
	c := commands[0]
	if c.text != "one \\\n  more" || strings.Join(c.output, "|") != "out|" || c.line != 7 || c.runsOn {
		t.Errorf("%+v", c)
	}
	if c := commands[1]; !c.runsOn || c.output != nil {
		t.Errorf("%+v", c)
	}
	if b := g.blocks[2]; b.mark != (mark{action: "docker", of: "image"}) {
		t.Errorf("%+v", b)
	}
}

func TestParseRejects(t *testing.T) {
	for text, want := range map[string]string{
		"```sh\nls\n```\n":                                   `the language "sh" is not allowed`,
		"```bash\n$ ls\n```\n":                               `the language "bash" is not allowed`,
		"```\n$ ls\n```\n":                                   "the language must be console",
		"```console\n# ls\n```\n":                            `must begin with "$ "`,
		"```console\n```\n":                                  "without a command",
		"```console\n$ ls\n":                                 "has no end",
		"```console\n$ ls ...\n```\n":                        "placeholder",
		"```console\n$ scp <host>:x .\n```\n":                "placeholder",
		"```console\n$ ls …\n```\n":                          "placeholder",
		"  ```console\n$ ls\n```\n":                          "beginning of the line",
		"~~~console\n$ ls\n~~~\n":                            "beginning of the line",
		"<!-- run: docker -->\n```console\n$ ls\n```\n":      "want 1",
		"<!-- run: gate -->\n```console\n$ ls\n```\n":        "want 1",
		"<!-- run: root gate x -->\n```console\n$ ls\n```\n": "runs as root without it",
		"<!-- run: docker x -->\n```console\n$ ls\nx\n```\n": "nothing compares",
		"```console\n$ ls\n# go run ./x\n```\n":              "the prompt must be",
		"```\n# bin/floodbench run\n```\n":                   "the prompt must be",
		"<!-- run: kubernetes x -->\n```console\n$ ls\n```":  "unknown",
		"<!-- run: client -->\n\n```console\n$ ls\n```\n":    "on the line before a fence",
		"<!-- run client -->\n```console\n$ ls\n```\n":       "want",
		"<!-- run: file x -->\n```console\n$ ls\n```\n":      "cannot be written",
		"<!-- run: docker x -->\n```toml\na = 1\n```\n":      "only as a file",
		"```sshconfig\nHost work\n```\n":                     "must be marked",
	} {
		if _, err := parse("guide.md", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		shown, output string
		want          bool
	}{
		{"open: 203.0.113.5:22", "open: 198.51.100.7:2222\n", true},
		{"open: 203.0.113.5:22", "sent: 203.0.113.5:22\n", false},
		{"open: 203.0.113.5:22", "open: 203.0.113.5:22\nmore\n", false},
		{"open: 203.0.113.5:22\n…", "open: 203.0.113.5:22\nmore\n", true},
		{"…\nlast", "first\nmore\nlast\n", true},
		{"…\nlast", "first\nlast\nmore\n", false},
		{"until 2026-12-03T08:43:22Z", "until 2027-01-01T10:00:00.5+01:00\n", true},
		{"until 2026-12-03 08:43:22 +00:00.", "until 2027-01-01 10:00:00 +01:00.\n", true},
		{"until 2026-12-03T08:43:22Z", "until tomorrow\n", false},
		{"for 30s", "for 1m0s\n", true},
		{"for 30s", "for 30\n", false},
		{"A  B", "A     B\n", true},
		{"sound: …, form 2", "sound: /tmp/x, form 3\n", true},
		{"Client xTbP", "Client 7kQx\n", true},
		{"Client com", "Client bob\n", false},
	} {
		if got := (identifiers{}).match(strings.Split(c.shown, "\n"), c.output); got != c.want {
			t.Errorf("%q shown, %q printed: %t", c.shown, c.output, got)
		}
	}
}

func TestIdentifiersAreLearned(t *testing.T) {
	ids := identifiers{}
	if !ids.match([]string{"Client xTbP", "xTbP again, and k7Qx"}, "Client 7kQx\n7kQx again, and ab3d\n") {
		t.Error("a new identifier does not match")
	}
	if got := ids.replace("revoke xTbP k7Qx"); got != "revoke 7kQx ab3d" {
		t.Errorf("the command is %q", got)
	}
	if ids.match([]string{"Client xTbP"}, "Client else\n") {
		t.Error("another identifier matches")
	}
}
