package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
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
	fault      fault // of what stands after services=, which then is unreadable
	secret     []byte
	mark       uint32 // the largest nonce already used; 0: none
	previous   []byte // the secret before a rotation; nil: none
	until      time.Time
	services   string // that it may open, divided by commas; empty: all
	note       string
}

// loadClients reads the clients file, which only its owner may read. Services
// that it names have to be readable and among those known, if any are.
func loadClients(path string, known []string) ([]registered, error) {
	f, err := secretfile.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the clients: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the clients: %w", err)
	}
	// A guess at their number spares copies of a long list.
	clients := make([]registered, 0, info.Size()/usualLine)
	err = scanClients(path, f, func(l clientLine) error {
		if l.client == nil {
			return nil
		}
		clients = append(clients, *l.client)
		if known == nil {
			return nil
		}
		return l.client.checkServices(known)
	})
	return slices.Clip(clients), err
}

// usualLine is the length of a line with a secret of 256 bits in hex.
const usualLine = 72

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

// parseClients returns all lines. None of them has a fault.
func parseClients(path string, r io.Reader) (lines []clientLine, err error) {
	return readLines(path, r, func(c registered) error { return c.fault.err() })
}

// parseToMend is parseClients, but for the faults that another line may have.
func parseToMend(path string, r io.Reader) ([]clientLine, error) {
	return readLines(path, r, func(registered) error { return nil })
}

func readLines(path string, r io.Reader, check func(registered) error) (lines []clientLine, err error) {
	err = scanClients(path, r, func(l clientLine) error {
		if l.client != nil {
			c := *l.client
			l.client = &c
			if err := check(c); err != nil {
				return err
			}
		}
		lines = append(lines, l)
		return nil
	})
	return lines, err
}

// scanClients reads lines of identifier, secret and largest nonce used,
// divided by white space (paper, Listing 4), and of further columns of the
// form key=value. Empty lines, and lines that begin with #, name no client. The
// client of a line that take is given is valid only during the call. An error
// names the line and never repeats what it holds, but for names: it may be a
// secret in the wrong place. A key that is not known is refused: a later form may restrict
// its client there.
func scanClients(path string, r io.Reader, take func(clientLine) error) error {
	lineOf := map[wire.Identifier]uint32{}
	scanner := bufio.NewScanner(r)
	number := uint32(0)
	var c registered
	for scanner.Scan() {
		number++
		l := clientLine{text: scanner.Text()}
		if trimmed := strings.TrimSpace(l.text); trimmed != "" && !strings.HasPrefix(trimmed, "#") {
			var err error
			if c, err = parseClient(trimmed); err != nil {
				return fmt.Errorf("%s:%d: %w", path, number, err)
			}
			if first, ok := lineOf[c.identifier]; ok {
				return fmt.Errorf("%s:%d: identifier %s stands in line %d already; expected each one once", path, number, c.identifier, first)
			}
			lineOf[c.identifier] = number
			l.client = &c
		}
		if err := take(l); err != nil {
			return fmt.Errorf("%s:%d: %w", path, number, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", path, number+1, err)
	}
	return nil
}

// cutNote divides a line before its note, which is the rest of it.
func cutNote(text string) (columns, note string) {
	const key = "note="
	for from := 0; ; {
		i := strings.Index(text[from:], key)
		if i < 0 {
			return text, ""
		}
		i += from
		if i > 0 && strings.ContainsRune("\t\n\v\f\r ", rune(text[i-1])) {
			return text[:i-1], text[i+len(key):]
		}
		from = i + len(key)
	}
}

func parseClient(text string) (c registered, err error) {
	if !utf8.ValidString(text) {
		return c, errors.New("expected UTF-8 text")
	}
	text, c.note = cutNote(text)
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
	names := false // whether the column before is of services
	for i, field := range fields[3:] {
		key, value, pair := strings.Cut(field, "=")
		after := names
		names = key == "services" || after && !pair
		switch {
		case key == "old" && value != "" && c.previous == nil:
			c.previous = []byte(value)
		case key == "until" && c.until.IsZero():
			if c.until, err = time.Parse(time.RFC3339, value); err != nil {
				return c, fmt.Errorf("column %d: expected until= and a time such as 2026-12-01T00:00:00Z", i+4)
			}
		case key == "services" && c.services == "" && !slices.Contains(strings.Split(value, ","), ""):
			c.services = value
		case key == "services":
			c.fault, c.services = max(c.fault, malformed), unreadable
		case after && !pair:
			c.fault, c.services = spaced, unreadable
		default:
			return c, fmt.Errorf("column %d: expected old=SECRET, until=TIME, services=NAME,NAME or note=TEXT, each once", i+4)
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
	if c.services != "" {
		text += " services=" + c.services
	}
	if c.note != "" {
		text += " note=" + c.note
	}
	return text
}
