package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"sallyport/bench/netns"
)

// staying is "sallyport stay --json" on the client's host.
type staying struct {
	t    *testing.T
	n    *network
	cmd  *exec.Cmd
	name string // of the files with its output
}

// stay starts the command. It ends with the test, if not earlier.
func (n *network) stay(profile string, args ...string) *staying {
	n.t.Helper()
	s := &staying{t: n.t, n: n, name: n.path("stay-" + profile)}
	s.cmd = exec.Command(n.path("sallyport"), append([]string{"stay", n.path(profile + ".toml"), "--json"}, args...)...)
	s.cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+n.path("client-state"))
	out, err := os.Create(s.name)
	if err != nil {
		n.t.Fatal(err)
	}
	defer out.Close()
	s.cmd.Stdout, s.cmd.Stderr = out, out
	if err := n.client.Do(s.cmd.Start); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { s.cmd.Process.Kill(); s.cmd.Wait() })
	return s
}

// events returns the complete lines so far.
func (s *staying) events() (list []stayEvent) {
	s.t.Helper()
	text, err := os.ReadFile(s.name)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		var e stayEvent
		if err := json.Unmarshal(line, &e); err != nil {
			s.t.Fatalf("%q: %v", line, err)
		}
		list = append(list, e)
	}
	return list
}

// count returns the number of events of a kind.
func (s *staying) count(event string) (n int) {
	for _, e := range s.events() {
		if e.Event == event {
			n++
		}
	}
	return n
}

// await waits for so many events of a kind, and returns the last one.
func (s *staying) await(event string, count int) (last stayEvent) {
	s.t.Helper()
	netns.Until(s.t, event, func() bool { return s.count(event) >= count }, s.text, s.n.log)
	for _, e := range s.events() {
		if e.Event == event {
			last = e
		}
	}
	return last
}

func (s *staying) text() string {
	text, _ := os.ReadFile(s.name)
	return "stay: " + string(text)
}

// end ends the command by a signal, and checks how it has ended.
func (s *staying) end(signal os.Signal) {
	s.t.Helper()
	s.cmd.Process.Signal(signal)
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("ended with %v\n%s", err, s.text())
	}
	if list := s.events(); len(list) == 0 || list[len(list)-1].Event != "stopped" {
		s.t.Errorf("the last event is not \"stopped\":\n%s", s.text())
	}
}

// setOpenFor writes the key open_for of a profile.
func (n *network) setOpenFor(profile, openFor string) {
	n.t.Helper()
	text, err := os.ReadFile(n.path(profile + ".toml"))
	if err != nil {
		n.t.Fatal(err)
	}
	lines := []string{"open_for = \"" + openFor + "\"\n"}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "open_for ") {
			lines = append(lines, line)
		}
	}
	if err := os.WriteFile(n.path(profile+".toml"), []byte(strings.Join(lines, "")), 0o600); err != nil {
		n.t.Fatal(err)
	}
}
