package firewall

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// TestHostRules: the script for nftables.service loads the host's rules, and no holder
// runs. Whatever removes the table in them, it then hides the same, with the same leases.
func TestHostRules(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newNetwork(t)
	f := w.claim(Config{Stealth: true, Ports: []Port{{Protocol: TCP, Port: 2000}, {Protocol: TCP, Port: 60000, Last: 61000}}})
	w.must(f.do(change(0, client4, time.Hour)))
	dir := t.TempDir()
	rules, included := filepath.Join(dir, "rules"), filepath.Join(dir, "included")
	w.must(os.WriteFile(included, []byte("flush ruleset\n"), 0o600))
	handle := func() string {
		return string(regexp.MustCompile(`table inet sallyport .*`).Find(w.run(nil, "-a", "list", "table", "inet", "sallyport")))
	}
	load := func(path string) ([]byte, error) {
		return exec.Command("sh", "../../../container/sallyport-nft", "load", path).CombinedOutput()
	}
	host := regexp.MustCompile(`(?m)^table inet host$`)
	for _, row := range []struct {
		text string
		same bool // the table was not even removed
	}{
		{"flush ruleset\nadd table inet host", true},
		{"flush ruleset; # all\nadd table inet host", true},
		{"add table inet host", true},
		{"flush ruleset inet\nadd table inet host", false},
		{"flush ruleset; add table inet host", false},
		{"flush \\\nruleset\nadd table inet host", false},
		{"delete table inet sallyport\nadd table inet host", false},
		{"include \"" + included + "\"\nadd table inet host", false},
	} {
		w.must(os.WriteFile(rules, []byte(row.text+"\n"), 0o600))
		was := handle()
		if out, err := load(rules); err != nil {
			t.Fatalf("%q: %v\n%s", row.text, err, out)
		}
		if got := w.run(nil, "list", "tables"); !host.Match(got) {
			t.Errorf("%q: the tables are %q", row.text, got)
		}
		found, err := Inspect()
		w.must(err)
		if found.Kind != Owned || found.Owner != tester || !found.Intact {
			t.Fatalf("%q: the table is %+v", row.text, found)
		}
		granted(t, f, 1)
		if same := handle() == was; same != row.same {
			t.Errorf("%q: the same table: %t", row.text, same)
		}
		w.nft("flush table inet host\ndelete table inet host")
	}
	// A failure changes nothing: not the table, nor the rules.
	w.must(os.WriteFile(rules, []byte("flush ruleset inet\nadd table inet host\nno command\n"), 0o600))
	was := handle()
	if out, err := load(rules); err == nil || handle() != was {
		t.Errorf("rules with a mistake: %v, %s; %s, then %s", err, out, was, handle())
	}
}
