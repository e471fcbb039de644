package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport/cmd/internal/secretfile"
	"sallyport/verify/wire"
)

// registered is a line of the clients file.
type registered struct {
	identifier wire.Identifier
	secret     []byte
	mark       uint32 // the largest nonce already used; 0: none
	previous   []byte // the secret before a rotation; nil: none
	until      time.Time
	note       string
}

// loadClients reads the clients file, which only its owner may read.
func loadClients(path string) ([]registered, error) {
	f, err := secretfile.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the clients: %w", err)
	}
	defer f.Close()
	lines, err := parseClients(path, f)
	if err != nil {
		return nil, err
	}
	return clientsOf(lines), nil
}

// clientLine is a line of the clients file as it stands there: a client, or
// text that names none.
type clientLine struct {
	text   string
	client *registered
}

func clientsOf(lines []clientLine) []registered {
	var clients []registered
	for _, l := range lines {
		if l.client != nil {
			clients = append(clients, *l.client)
		}
	}
	return clients
}

// parseClients reads lines of identifier, secret and largest nonce used,
// divided by white space (paper, Listing 4), and of further columns of the
// form key=value. Empty lines, and lines that begin with #, name no client. An
// error names the line and never repeats what it holds: it may be a secret in
// the wrong place. A key that is not known is refused: a later form may
// restrict its client there.
func parseClients(path string, r io.Reader) ([]clientLine, error) {
	var lines []clientLine
	lineOf := map[wire.Identifier]int{}
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		l := clientLine{text: scanner.Text()}
		number := len(lines) + 1
		if trimmed := strings.TrimSpace(l.text); trimmed != "" && !strings.HasPrefix(trimmed, "#") {
			c, err := parseClient(trimmed)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, number, err)
			}
			if first, ok := lineOf[c.identifier]; ok {
				return nil, fmt.Errorf("%s:%d: identifier %s stands in line %d already; expected each one once", path, number, c.identifier, first)
			}
			lineOf[c.identifier] = number
			l.client = &c
		}
		lines = append(lines, l)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", path, len(lines)+1, err)
	}
	return lines, nil
}

var noteColumn = regexp.MustCompile(`\snote=`)

func parseClient(text string) (c registered, err error) {
	if !utf8.ValidString(text) {
		return c, errors.New("expected UTF-8 text")
	}
	// The note is the rest of the line, spaces and all.
	if at := noteColumn.FindStringIndex(text); at != nil {
		text, c.note = text[:at[0]], text[at[1]:]
	}
	fields := strings.Fields(text)
	if len(fields) < 3 {
		return c, fmt.Errorf("expected identifier, secret and nonce, divided by spaces; got %d columns", len(fields))
	}
	if c.identifier, err = wire.ParseIdentifier(fields[0]); err != nil {
		return c, err
	}
	c.secret = []byte(fields[1])
	mark, err := strconv.ParseUint(fields[2], 10, 32)
	if err != nil {
		return c, errors.New("expected a nonce from 0 to 4294967295 in the third column")
	}
	c.mark = uint32(mark)
	for i, field := range fields[3:] {
		key, value, _ := strings.Cut(field, "=")
		switch {
		case key == "old" && value != "" && c.previous == nil:
			c.previous = []byte(value)
		case key == "until" && c.until.IsZero():
			if c.until, err = time.Parse(time.RFC3339, value); err != nil {
				return c, fmt.Errorf("column %d: expected until= and a time such as 2026-12-01T00:00:00Z", i+4)
			}
		default:
			return c, fmt.Errorf("column %d: expected old=SECRET, until=TIME or note=TEXT, each once", i+4)
		}
	}
	if (c.previous == nil) != c.until.IsZero() {
		return c, errors.New("expected old= and until= together: the secret before a rotation, and until when it is good")
	}
	return c, nil
}

// String is the client's line, as parseClient reads it. It holds secrets.
func (c registered) String() string {
	text := fmt.Sprintf("%s %s %d", c.identifier, c.secret, c.mark)
	if c.previous != nil {
		text += fmt.Sprintf(" old=%s until=%s", c.previous, c.until.UTC().Format(time.RFC3339))
	}
	if c.note != "" {
		text += " note=" + c.note
	}
	return text
}
