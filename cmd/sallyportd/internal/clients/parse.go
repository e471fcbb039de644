package clients

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

	"sallyport/verify/wire"
)

// Client is a client that is Client: a line of the clients file.
type Client struct {
	Identifier wire.Identifier
	Secret     []byte
	Mark       uint32    // the largest nonce already used; 0: none
	Previous   []byte    // the secret before a rotation; nil: none
	Until      time.Time // of the previous secret
	Services   string    // that it may open, divided by commas, as the file has them; empty: all
	Note       string

	issue issue // with what stands after services=, which then cannot be read
}

// List are the clients of a file. It holds their secrets: who has made tables
// of its own from it lets go of it.
type List []Client

// Line is a line of the clients file as it stands there: a client, or text
// that names none.
type Line struct {
	Text   string
	Client *Client
}

// Of returns the clients of lines.
func Of(lines []Line) List {
	var list List
	for _, l := range lines {
		if l.Client != nil {
			list = append(list, *l.Client)
		}
	}
	return list
}

// Parse returns all lines, as Load does its clients, but for whether the
// services are known.
func Parse(path string, r io.Reader) (lines []Line, err error) {
	return readLines(path, r, func(c Client) error { return c.issue.err() })
}

// parseLenient is Parse, but for unreadable services: commands that mend them
// have to read past them.
func parseLenient(path string, r io.Reader) ([]Line, error) {
	return readLines(path, r, func(Client) error { return nil })
}

func readLines(path string, r io.Reader, check func(Client) error) (lines []Line, err error) {
	err = scan(path, r, func(l Line) error {
		if l.Client != nil {
			c := *l.Client
			l.Client = &c
			if err := check(c); err != nil {
				return err
			}
		}
		lines = append(lines, l)
		return nil
	})
	return lines, err
}

// scan reads lines of identifier, secret and largest nonce used,
// divided by white space (paper, Listing 4), and of further columns of the
// form key=value. Empty lines, and lines that begin with #, name no client. The
// client of a line that take is given is valid only during the call. An error
// names the line and never repeats what it holds, but for names: it may be a
// secret in the wrong place. A key that is not known is refused: a later form may restrict
// its client there.
func scan(path string, r io.Reader, take func(Line) error) error {
	lineOf := map[wire.Identifier]uint32{}
	scanner := bufio.NewScanner(r)
	number := uint32(0)
	var c Client
	for scanner.Scan() {
		number++
		l := Line{Text: scanner.Text()}
		if trimmed := strings.TrimSpace(l.Text); trimmed != "" && !strings.HasPrefix(trimmed, "#") {
			var err error
			if c, err = parseClient(trimmed); err != nil {
				return fmt.Errorf("%s:%d: %w", path, number, err)
			}
			if first, ok := lineOf[c.Identifier]; ok {
				return fmt.Errorf("%s:%d: identifier %s stands in line %d already; expected each one once", path, number, c.Identifier, first)
			}
			lineOf[c.Identifier] = number
			l.Client = &c
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

func parseClient(text string) (c Client, err error) {
	if !utf8.ValidString(text) {
		return c, errors.New("expected UTF-8 text")
	}
	text, c.Note = cutNote(text)
	c.Note = strings.Clone(c.Note)
	fields := strings.Fields(text)
	if len(fields) < 3 {
		return c, fmt.Errorf("expected identifier, secret and nonce, divided by spaces; got %d columns", len(fields))
	}
	if c.Identifier, err = wire.ParseIdentifier(fields[0]); err != nil {
		return c, err
	}
	c.Secret = []byte(fields[1])
	mark, err := strconv.ParseUint(fields[2], 10, 32)
	if err != nil {
		return c, errors.New("expected a nonce from 0 to 4294967295 in the third column")
	}
	c.Mark = uint32(mark)
	names := false // whether the column before is of services
	for i, field := range fields[3:] {
		key, value, pair := strings.Cut(field, "=")
		after := names
		names = key == "services" || after && !pair
		switch {
		case key == "old" && value != "" && c.Previous == nil:
			c.Previous = []byte(value)
		case key == "until" && c.Until.IsZero():
			if c.Until, err = time.Parse(time.RFC3339, value); err != nil {
				return c, fmt.Errorf("column %d: expected until= and a time such as 2026-12-01T00:00:00Z", i+4)
			}
		case key == "services" && c.Services == "" && !slices.Contains(strings.Split(value, ","), ""):
			c.Services = strings.Clone(value) // or it would keep the line, with its secrets
		case key == "services":
			c.issue, c.Services = max(c.issue, malformed), unreadable
		case after && !pair:
			c.issue, c.Services = spaced, unreadable
		default:
			return c, fmt.Errorf("column %d: expected old=SECRET, until=TIME, services=NAME,NAME or note=TEXT, each once", i+4)
		}
	}
	if (c.Previous == nil) != c.Until.IsZero() {
		return c, errors.New("expected old= and until= together: the secret before a rotation, and until when it is good")
	}
	return c, nil
}

// String is the client's line, as parseClient reads it. It holds secrets.
func (c Client) String() string {
	text := fmt.Sprintf("%s %s %d", c.Identifier, c.Secret, c.Mark)
	if c.Previous != nil {
		text += fmt.Sprintf(" old=%s until=%s", c.Previous, c.Until.UTC().Format(time.RFC3339))
	}
	if c.Services != "" {
		text += " services=" + c.Services
	}
	if c.Note != "" {
		text += " note=" + c.Note
	}
	return text
}

// Rights returns which services a client may open, nil for all, and whether it
// is one. It keeps what it needs of the clients that are asked for, and nothing
// else of the list.
func (l List) Rights(asked []string) func(client string) (services []string, known bool) {
	wanted := make(map[string]bool, len(asked))
	for _, id := range asked {
		wanted[id] = true
	}
	rights := map[string][]string{}
	for _, c := range l {
		if id := c.Identifier.String(); wanted[id] {
			rights[id] = c.Allowed()
		}
	}
	return func(client string) ([]string, bool) {
		services, known := rights[client]
		return services, known
	}
}
