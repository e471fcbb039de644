package clients

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/secretfile"
	"sallyport/sessions/durable"
)

// Loaded is a clients file as it was read.
type Loaded struct {
	List  List
	State State // of the file, before and after it was read
	// Whole says that the last line has its end. Without it, whoever writes the
	// file may not be done: the rest of the line may restrict its client.
	Whole bool
}

// UnfinishedError says that a clients file does not end with a newline.
type UnfinishedError struct{ Path string }

func (e *UnfinishedError) Error() string {
	return e.Path + ": the last line has no newline at its end: is it whole?"
}

// Hint says what to do.
func (e *UnfinishedError) Hint() string {
	return "if nobody is writing the file, end its last line: echo >>'" + e.Path + "'"
}

// errChanges says that a file was never the same before and after it was read.
var errChanges = errors.New("it changes while it is read")

// reads is how often Read tries to find the file at rest.
const reads = 3

// Load is Read for the clients alone, whether the file is whole or not.
func Load(path string, known []string) (List, error) {
	l, err := Read(path, known)
	return l.List, err
}

// Read reads the clients file, which only its owner may read. Services
// that it names have to be readable and among those known, if any are. A file
// that changes meanwhile is read again, and is an error if it does not rest.
func Read(path string, known []string) (l Loaded, err error) {
	for range reads {
		l.State = StateOf(path)
		if l.List, l.Whole, err = read(path, known); l.State == StateOf(path) {
			return l, err
		}
		if err == nil {
			err = fmt.Errorf("read the clients: %s: %w", path, errChanges)
		}
	}
	return Loaded{State: l.State}, err
}

func read(path string, known []string) (list List, whole bool, err error) {
	f, err := secretfile.Open(path)
	if err != nil {
		return nil, false, fmt.Errorf("read the clients: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("read the clients: %w", err)
	}
	// A guess at their number spares copies of a long list.
	list = make(List, 0, info.Size()/usualLine)
	end := &lastByte{r: f, last: '\n'}
	err = scan(path, end, func(l Line) error {
		if l.Client == nil {
			return nil
		}
		list = append(list, *l.Client)
		if known == nil {
			return nil
		}
		return l.Client.CheckServices(known)
	})
	return slices.Clip(list), end.last == '\n', err
}

// usualLine is the length of a line with a secret of 256 bits in hex.
const usualLine = 72

// lastByte knows the last byte that was read.
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

// whole returns a file's text. If its last line has no end, the text comes with
// an UnfinishedError: to end the line might widen the rights of its client.
func whole(path string, f io.Reader) (string, error) {
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

// open opens the clients file for an edit, whoever may read it.
func open(path string) (*os.File, os.FileInfo, error) {
	f, err := durable.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("read the clients: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: expected a file, this is something else", path)
	}
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("read the clients: %w", err)
	}
	return f, info, nil
}
