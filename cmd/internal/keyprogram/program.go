package keyprogram

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/terminal"
)

// DefaultTimeout is long enough for a person who must find a key to touch.
const DefaultTimeout = time.Minute

// Program is a program to run, and how.
type Program struct {
	Key     string        // of the file that names it, such as "mac_command", for messages
	Argv    []string      // the path of the program, and its arguments; no shell reads them
	Timeout time.Duration // for the secret, or for each HMAC; 0: DefaultTimeout
	Stderr  io.Writer     // receives a notice of a long wait, and what a failed program printed on its standard error; nil: nothing
}

// noticeTime is after how long the client prints for what it waits.
const noticeTime = 2 * time.Second

// endTime is how long a program may run on after its standard input was closed, or after
// it was killed and another process still holds its pipes.
const endTime = time.Second

func (p Program) timeout() time.Duration {
	if p.Timeout == 0 {
		return DefaultTimeout
	}
	return p.Timeout
}

func (p Program) command(stderr *tail) *exec.Cmd {
	cmd := exec.Command(p.Argv[0], p.Argv[1:]...)
	cmd.Stderr, cmd.WaitDelay = stderr, endTime
	return cmd
}

// name is the program in messages. Its arguments are not in them.
func (p Program) name() string { return p.Key + " (" + filepath.Base(p.Argv[0]) + ")" }

// errorf returns an error about the program.
func (p Program) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: %s", p.name(), fmt.Sprintf(format, args...))
}

// cannotStart returns the error of a program that did not start.
func (p Program) cannotStart(err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return hint.With(p.errorf("there is no program %q", p.Argv[0]), "install it, or name another one: sallyport profile set --help")
	}
	return p.errorf("start it: %v", hint.Cause(err))
}

// tooLong returns the error of a program that did not answer in time.
func (p Program) tooLong(what string) error {
	return hint.With(p.errorf("expected %s within %s, got none", what, p.timeout()),
		"run it in a terminal: does it wait for a PIN or a touch, or keep back its output? To wait longer: sallyport profile set NAME --timeout TIME")
}

// ended returns the error of a program that has ended, which is that of ctx if a signal
// has ended both.
func (p Program) ended(ctx context.Context, cmd *exec.Cmd, err error) error {
	if errors.Is(err, exec.ErrWaitDelay) {
		return p.errorf("it has ended, and another process holds its output open")
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return p.errorf("it has ended")
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		// The terminal's Ctrl-C goes to the client, too, which may notice it later.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(endTime):
		}
		return p.errorf("a signal has ended it: %v", ws.Signal())
	}
	return p.errorf("it has ended with exit code %d", exit.ExitCode())
}

// failed prints what a failed program has printed, and returns its error.
func (p Program) failed(ctx context.Context, stderr *tail, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if p.Stderr == nil {
		return err
	}
	for line := range strings.Lines(stderr.String()) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			fmt.Fprintf(p.Stderr, "%s: %s\n", p.Key, terminal.Text(line))
		}
	}
	return err
}

// notice prints for what the client waits, unless stop is called in time.
func (p Program) notice() (stop func() bool) {
	if p.Stderr == nil {
		return func() bool { return true }
	}
	return time.AfterFunc(noticeTime, func() {
		fmt.Fprintf(p.Stderr, "waiting for %s: it may ask for a PIN or a touch\n", p.name())
	}).Stop
}

// maxTail is how much is kept of what a program prints on standard error, in bytes.
const maxTail = 4 << 10

// tail keeps the end of what is written to it. It is safe for concurrent use.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// Write implements io.Writer. It always succeeds.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - maxTail; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.ToValidUTF8(t.buf, []byte("?")))
}
