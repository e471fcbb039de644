package clients

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/secretfile"
)

// Loaded is the content of a clients file.
type Loaded struct {
	List  List
	State State // of the file; the same before and after Read read it
	// Whole reports whether the file ends with a newline. If it does not, another
	// program may still write the last line, and its rest may restrict the client.
	Whole bool
}

// UnfinishedError is the error of a clients file that does not end with a newline.
type UnfinishedError struct{ Path string }

func (e *UnfinishedError) Error() string {
	return e.Path + ": the last line does not end with a newline, and may be incomplete"
}

// Hint returns what to do.
func (e *UnfinishedError) Hint() string {
	return "if no program is writing the file, add the newline: echo >>'" + e.Path + "'"
}

// errChanging is the error of a file that changed during each attempt to read it.
var errChanging = errors.New("the file changes while it is read")

// maxReads is how often Read tries to read a file that changes.
const maxReads = 3

// Load is Read, but returns only the clients. It accepts a file without a newline at
// its end.
func Load(path string, rules secretfile.Rules, known []string) (List, error) {
	l, err := Read(path, rules, known)
	return l.List, err
}

// Read reads the clients file, which only the users of the rules may read. The
// services of the clients must be in known, unless known is nil. If the file changes
// while it is read, Read reads it again, at most maxReads times in all.
func Read(path string, rules secretfile.Rules, known []string) (l Loaded, err error) {
	for range maxReads {
		l.State = StateOf(path)
		l.List, l.Whole, err = read(path, rules, known)
		if l.State == StateOf(path) {
			return l, err
		}
		if err == nil {
			err = fmt.Errorf("read the clients: %s: %w", path, errChanging)
		}
	}
	return Loaded{State: l.State}, err
}

func read(path string, rules secretfile.Rules, known []string) (list List, whole bool, err error) {
	f, err := rules.Open(path)
	if err != nil {
		return nil, false, fmt.Errorf("read the clients: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("read the clients: %w", err)
	}
	end := &lastByte{r: f, last: '\n'}
	list, err = readList(path, end, info.Size(), known)
	return list, end.last == '\n', err
}

// ReadText is Read for the text of a file with this path.
func ReadText(path string, text []byte, known []string) (List, error) {
	return readList(path, bytes.NewReader(text), int64(len(text)), known)
}

func readList(path string, r io.Reader, size int64, known []string) (List, error) {
	// An estimate of the number of clients avoids copies of a long list.
	list := make(List, 0, size/typicalLine)
	err := scan(path, r, func(l Line) error {
		if l.Client == nil {
			return nil
		}
		list = append(list, *l.Client)
		if known == nil {
			return nil
		}
		return l.Client.CheckServices(known)
	})
	return slices.Clip(list), err
}

// ReadLines returns all lines of a clients file, which only the users of the rules may
// read, for a command that copies it. The file must be whole, and the services of its
// clients in known.
func ReadLines(path string, rules secretfile.Rules, known []string) ([]Line, error) {
	f, err := rules.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the clients: %w", err)
	}
	defer f.Close()
	text, err := readWhole(path, f)
	if err != nil {
		return nil, err
	}
	return readLines(path, strings.NewReader(text), func(c Client) error { return c.CheckServices(known) })
}

// typicalLine is the length of a line with a secret of 256 bits in hex.
const typicalLine = 72

// lastByte is a reader that stores the last byte it returned.
type lastByte struct {
	r    io.Reader
	last byte
}

func (l *lastByte) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if n > 0 {
		l.last = b[n-1]
	}
	return n, err
}

// readWhole returns the text of a file. If the text does not end with a newline, it
// returns the text and an UnfinishedError: a newline there could widen the rights
// of the last client.
func readWhole(path string, f io.Reader) (string, error) {
	text, err := io.ReadAll(f)
	if err != nil {
		return "", fmt.Errorf("read the clients: %w", err)
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		unfinished := &UnfinishedError{path}
		return string(text), hint.With(unfinished, unfinished.Hint())
	}
	return string(text), nil
}

// open opens the clients file for a change, even if other users may read it: the
// change keeps the mode.
func open(path string) (*os.File, os.FileInfo, error) {
	f, err := secretfile.OpenAny(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the clients: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("read the clients: %w", err)
	}
	return f, info, nil
}
