package passphrase

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"golang.org/x/term"

	"sallyport/cmd/internal/terminal"
)

// ErrNoTerminal is the error of Ask without a terminal.
var ErrNoTerminal = errors.New("there is no terminal to ask for a passphrase")

// Ask asks for a passphrase on the terminal of the process, without echo. Standard input
// and output may lead elsewhere. If ctx ends, the terminal is as before.
func Ask(ctx context.Context, prompt string) (string, error) {
	t, err := openTerminal()
	if err != nil {
		return "", ErrNoTerminal
	}
	defer t.close()
	fd := int(t.in.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", ErrNoTerminal
	}
	fmt.Fprintf(t.out, "%s: ", terminal.Text(prompt))
	type answer struct {
		text []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := term.ReadPassword(fd)
		answers <- answer{text, err}
	}()
	select {
	case <-ctx.Done():
		term.Restore(fd, before)
		fmt.Fprintln(t.out)
		return "", ctx.Err()
	case a := <-answers:
		fmt.Fprintln(t.out)
		if a.err != nil && !errors.Is(a.err, io.EOF) {
			return "", fmt.Errorf("read the passphrase: %v", a.err)
		}
		return check(a.text)
	}
}

// maxPassphrase is the longest passphrase, in bytes.
const maxPassphrase = 1024

// Descriptor is a descriptor of the process with passphrases, a line each. Programs that
// the process starts do not get it, except for standard input.
type Descriptor struct {
	fd int
	f  *os.File
}

// Open returns a descriptor of the process.
func Open(fd int) (*Descriptor, error) {
	if fd < 0 || fd == 1 || fd == 2 {
		return nil, fmt.Errorf("expected a descriptor to read from, 0 or from 3 on, got %d", fd)
	}
	if fd == 0 {
		return &Descriptor{fd, os.Stdin}, nil
	}
	closeOnExec(fd)
	f := os.NewFile(uintptr(fd), "the passphrase")
	if f == nil {
		return nil, fmt.Errorf("descriptor %d is not open", fd)
	}
	return &Descriptor{fd, f}, nil
}

// Read reads the next passphrase. It reads no byte of the next line, which may be for
// another program.
func (d *Descriptor) Read() (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) <= maxPassphrase; {
		n, err := d.f.Read(b)
		if n == 1 && b[0] != '\n' {
			line = append(line, b[0])
			continue
		}
		if err != nil && err != io.EOF {
			return "", fmt.Errorf("read the passphrase from descriptor %d: %v", d.fd, errors.Unwrap(err))
		}
		if n == 1 || err == io.EOF {
			break
		}
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return check(line)
}

// check returns the passphrase, unless it cannot be one.
func check(text []byte) (string, error) {
	switch {
	case len(text) == 0:
		return "", errors.New("expected a passphrase, got an empty one")
	case len(text) > maxPassphrase:
		return "", fmt.Errorf("expected a passphrase of at most %d bytes, got more", maxPassphrase)
	case !utf8.Valid(text):
		return "", errors.New("expected a passphrase in UTF-8, got other bytes")
	}
	return string(text), nil
}

// console is the terminal of the process.
type console struct{ in, out *os.File }

func (c console) close() {
	c.in.Close()
	if c.out != c.in {
		c.out.Close()
	}
}
