package guides

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/bench/netns"
)

// session is a reader's terminal on one host. "cd" and "export" last from one
// command to the next.
type session struct {
	t       *testing.T
	host    *netns.Host // nil: the test's own
	home    string
	state   string // what lasts: files "cwd" and "env"
	running []*background
}

// background is a command that runs on.
type background struct {
	cmd    *exec.Cmd
	what   string
	output string        // a file
	done   chan struct{} // closed when the command has ended
	err    error         // after done
}

// commandTime is the longest that a command may take: it may have to compile all.
const commandTime = 5 * time.Minute

// outputTime is how long a command that runs on may take to print what the
// guide shows, and to end.
const outputTime = time.Minute

func newSession(t *testing.T, host *netns.Host, home, cwd string, environment []string) *session {
	t.Helper()
	s := &session{t: t, host: host, home: home, state: t.TempDir()}
	for _, dir := range []string{home, filepath.Join(home, ".ssh")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var env strings.Builder
	for _, e := range append(environment, "HOME="+home) {
		name, value, _ := strings.Cut(e, "=")
		fmt.Fprintf(&env, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	s.write(filepath.Join(s.state, "env"), env.String())
	s.write(filepath.Join(s.state, "cwd"), cwd+"\n")
	t.Cleanup(s.end)
	return s
}

func (s *session) write(path, text string) {
	s.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// path is a path as the reader writes it.
func (s *session) path(name string) string {
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		return filepath.Join(s.home, rest)
	}
	if filepath.IsAbs(name) {
		return name
	}
	cwd, err := os.ReadFile(filepath.Join(s.state, "cwd"))
	if err != nil {
		s.t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(cwd)), name)
}

// begin starts a command, whose output goes to a file.
func (s *session) begin(ctx context.Context, text string, runsOn bool) *background {
	s.t.Helper()
	script := ". \"$STATE/env\"; cd \"$(cat \"$STATE/cwd\")\"\n"
	if runsOn {
		script += "exec " + text + "\n"
	} else {
		script += text + "\nSTATUS=$?; pwd >\"$STATE/cwd\"; export -p >\"$STATE/env\"; exit $STATUS\n"
	}
	output, err := os.CreateTemp(s.state, "output")
	if err != nil {
		s.t.Fatal(err)
	}
	defer output.Close()
	b := &background{what: text, output: output.Name(), done: make(chan struct{})}
	b.cmd = exec.CommandContext(ctx, "sh", "-c", script)
	b.cmd.Env = []string{"STATE=" + s.state, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	b.cmd.Stdout, b.cmd.Stderr = output, output
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	b.cmd.Cancel = func() error { return syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) }
	b.cmd.WaitDelay = time.Second
	start := b.cmd.Start
	if s.host != nil {
		start = func() error { return s.host.Do(b.cmd.Start) }
	}
	if err := start(); err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
	go func() { b.err = b.cmd.Wait(); close(b.done) }()
	return b
}

func (b *background) text() string {
	text, _ := os.ReadFile(b.output)
	return strings.ReplaceAll(string(text), "\r\n", "\n") // ssh's lines
}

// run runs a command to its end.
func (s *session) run(text string) (string, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), commandTime)
	defer cancel()
	b := s.begin(ctx, text, false)
	<-b.done
	if err := ctx.Err(); err != nil {
		return b.text(), fmt.Errorf("ran for longer than %v", commandTime)
	}
	return b.text(), b.err
}

// must runs a command of the test itself.
func (s *session) must(text string) string {
	s.t.Helper()
	out, err := s.run(text)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", text, err, out)
	}
	return out
}

// runOn starts a command that runs on, and waits until its output is right.
func (s *session) runOn(text string, right func(output string) bool) error {
	s.t.Helper()
	b := s.begin(context.Background(), text, true)
	s.running = append(s.running, b)
	for end := time.Now().Add(outputTime); ; time.Sleep(10 * time.Millisecond) {
		ended := false
		select {
		case <-b.done:
			ended = true
		default:
		}
		switch out := b.text(); {
		case right(out):
			return nil
		case ended:
			return fmt.Errorf("ended (%v) after the output\n%s", b.err, out)
		case time.Now().After(end):
			return fmt.Errorf("printed only\n%s", out)
		}
	}
}

// end ends all commands that run on, the last one first.
func (s *session) end() { s.endFrom(0) }

// endSame ends the command with a text, if it runs: the reader starts it again.
func (s *session) endSame(text string) {
	if i := slices.IndexFunc(s.running, func(b *background) bool { return b.what == text }); i >= 0 {
		same := s.running[i]
		s.running = append(slices.Delete(s.running, i, i+1), same)
		s.endFrom(len(s.running) - 1)
	}
}

// endFrom ends those after the first n.
func (s *session) endFrom(n int) {
	for len(s.running) > n {
		b := s.running[len(s.running)-1]
		s.running = s.running[:len(s.running)-1]
		if err := b.stop(); err != nil {
			s.t.Errorf("%s: %v\n%s", b.what, err, b.text())
		}
	}
}

func (b *background) stop() error {
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-b.done:
	case <-time.After(outputTime):
		b.cmd.Process.Kill()
		return errors.New("did not end after SIGTERM")
	}
	var exit *exec.ExitError
	if errors.As(b.err, &exit) && (exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM || exit.ExitCode() == 128+int(syscall.SIGTERM)) {
		return nil
	}
	return b.err
}

// appendTo adds text to a file of the reader's.
func (s *session) appendTo(path, text string) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	old = append(bytes.TrimRight(old, "\n"), '\n')
	return os.WriteFile(path, append(bytes.TrimLeft(old, "\n"), text...), 0o600)
}
