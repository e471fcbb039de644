package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"sallyport/bench/netns"
	"sallyport/cmd/internal/cli"
	"sallyport/sessions/client"
)

// why runs a command of the client with --json, and returns what it printed.
func (n *network) why(on *netns.Host, args ...string) (o outcome) {
	n.t.Helper()
	var out strings.Builder
	cmd := exec.CommandContext(n.t.Context(), n.path("sallyport"), append(args, "--json")...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+n.path("client-state"))
	cmd.Stdout = &out
	stdin, err := cmd.StdinPipe() // it stays open, as that of ssh
	if err != nil {
		n.t.Fatal(err)
	}
	defer stdin.Close()
	start := cmd.Start
	if on != nil {
		start = func() error { return on.Do(cmd.Start) }
	}
	if err := start(); err != nil {
		n.t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		n.t.Fatal(err)
	}
	return n.outcome(args, out.String(), cmd.ProcessState.ExitCode())
}

// whyOnce is why for a result that a busy machine may miss: it repeats the command until
// it has the reason, after one attempt.
func (n *network) whyOnce(on *netns.Host, reason client.Reason, args ...string) (o outcome) {
	n.t.Helper()
	n.await("the reason "+string(reason), func() bool {
		if o = n.why(on, args...); o.ExitCode == cli.Misused {
			n.t.Fatalf("%+v", o)
		}
		return o.Reason == string(reason) && (o.Attempts == 1 || args[0] == "connect")
	})
	return o
}

// outcome parses the output of a command.
func (n *network) outcome(args []string, out string, code int) (o outcome) {
	n.t.Helper()
	if err := json.Unmarshal([]byte(out), &o); err != nil {
		n.t.Fatalf("%v: %v\n%s\nserver: %s", args, err, out, n.log())
	}
	if o.ExitCode != code {
		n.t.Errorf("%v: exit code %d, and in JSON %d", args, code, o.ExitCode)
	}
	if o.Hint == nil {
		o.Hint = new(string)
	}
	n.t.Logf("%v: exit code %d, reason %q: %s\n%s", args, code, o.Reason, o.Error, *o.Hint)
	return o
}

// secrets is how hints blame the profile. Nothing but silence is a reason for that.
const secrets = "compare identifier"

// expect checks the reason of a failure, a part of what is certain and of what is likely
// first, and that the client does not blame the profile.
func expect(t *testing.T, o outcome, reason client.Reason, certain, likely string) {
	t.Helper()
	switch {
	case o.Reason != string(reason):
		t.Errorf("reason %q, want %q", o.Reason, reason)
	case !strings.Contains(strings.Join(o.Certain, "\n"), certain):
		t.Errorf("certain %q, want %q", o.Certain, certain)
	case likely != "" && (len(o.Likely) == 0 || !strings.Contains(o.Likely[0], likely)):
		t.Errorf("likely %q, want %q first", o.Likely, likely)
	case strings.Contains(strings.ToLower(*o.Hint), secrets):
		t.Errorf("it blames the profile: %s", *o.Hint)
	}
}

// rewrite makes another profile of one, with replacements.
func (n *network) rewrite(from, to string, replacements ...string) {
	n.t.Helper()
	text, err := os.ReadFile(n.path(from + ".toml"))
	if err == nil {
		err = os.WriteFile(n.path(to+".toml"), []byte(strings.NewReplacer(replacements...).Replace(string(text))), 0o600)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// nft loads rules on a host (nil: the server's).
func (n *network) nft(on *netns.Host, text string) {
	n.t.Helper()
	path := n.path("rules.nft")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
	n.run(on, "nft", "-f", path)
}
