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

	"sallyport/cmd/internal/textfile"
	"sallyport/sessions/client/profilefile"
	"sallyport/verify/wire"
)

// Client is a line of the clients file.
type Client struct {
	Identifier   wire.Identifier
	Secret       []byte
	HighestNonce uint32    // the largest nonce already used; 0: none
	Previous     []byte    // the secret before a rotation; nil: none
	Until        time.Time // when the previous secret expires
	Expires      time.Time // from when on the client is refused; zero: it does not expire
	Services     string    // the services that the client may open, separated by commas; empty: all
	Note         string

	issue issue // of the column services=, if it cannot be parsed
}

// List is the clients of a file. It contains their secrets: a caller must not keep
// the List longer than it reads from it.
type List []Client

// Line is a line of the clients file: a client, or other text.
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

// Parse returns all lines. It does not check whether the services are configured.
func Parse(path string, r io.Reader) (lines []Line, err error) {
	return readLines(path, r, func(c Client) error { return c.issue.err() })
}

// ParseLenient is Parse, but accepts a column services= that cannot be parsed, for
// commands that fix it.
func ParseLenient(path string, r io.Reader) ([]Line, error) {
	return readLines(path, r, func(Client) error { return nil })
}

// ParseLine parses a text that must be the line of one client, without its end. It accepts
// a column services= that cannot be parsed: CheckServices returns an error for it.
func ParseLine(text string) (Client, error) {
	if text == "" || text != strings.TrimSpace(text) || text[0] == '#' || strings.ContainsAny(text, "\r\n") {
		return Client{}, errors.New("expected the line of a client, without spaces around it")
	}
	return parseClient(text)
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

// scan calls f for each line. A client's line has an identifier, a secret and the
// largest nonce used, separated by white space (paper, Listing 4), and further
// columns of the form key=value. Empty lines, and lines that begin with #, contain
// no client. Line.Client is valid only during the call of f. An error names the
// line, and repeats only identifiers and names of services: any other text may be a
// secret in the wrong column. An unknown key is an error: a later version of the
// format may use it to restrict the client.
//
// The text may begin with a byte order mark. Another encoding than UTF-8 is a
// textfile.EncodingError.
func scan(path string, r io.Reader, f func(Line) error) error {
	lineOf := map[wire.Identifier]uint32{}
	buffered := bufio.NewReader(r)
	start, _ := buffered.Peek(encodingBytes) // the scanner returns the error
	decoded, err := textfile.Decode(path, start)
	if err != nil {
		return err
	}
	buffered.Discard(len(start) - len(decoded))
	scanner := bufio.NewScanner(buffered)
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
				return fmt.Errorf("%s:%d: expected each identifier once, got %s, which is also in line %d",
					path, number, c.Identifier, first)
			}
			lineOf[c.Identifier] = number
			l.Client = &c
		}
		if err := f(l); err != nil {
			return fmt.Errorf("%s:%d: %w", path, number, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", path, number+1, err)
	}
	return nil
}

// encodingBytes is how much of a text shows its encoding.
const encodingBytes = 1 << 10

// cutNote splits a line into its columns and its note, which is the rest of the line.
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
	if len(fields) > 0 && strings.HasPrefix(fields[0], "\ufeff") {
		return c, errors.New("expected an identifier, got a byte order mark (U+FEFF) before it")
	}
	if len(fields) < 3 {
		return c, fmt.Errorf("expected identifier, secret and nonce, separated by spaces; got %d columns", len(fields))
	}
	if c.Identifier, err = wire.ParseIdentifier(fields[0]); err != nil {
		return c, err
	}
	if fault := profilefile.SecretFault(fields[1]); fault != "" {
		return c, fmt.Errorf("expected a secret of visible characters in the second column, got %s", fault)
	}
	c.Secret = []byte(fields[1])
	nonce, err := strconv.ParseUint(fields[2], 10, 32)
	if err != nil {
		return c, errors.New("expected a nonce from 0 to 4294967295 in the third column")
	}
	c.HighestNonce = uint32(nonce)
	afterServices := false // whether the previous columns are services= and names
	for i, field := range fields[3:] {
		key, value, pair := strings.Cut(field, "=")
		isName := afterServices && !pair
		afterServices = key == "services" || isName
		switch {
		case key == "old" && profilefile.SecretFault(value) != "":
			return c, fmt.Errorf("column %d: expected a secret of visible characters, got %s", i+4, profilefile.SecretFault(value))
		case key == "old" && value != "" && c.Previous == nil:
			c.Previous = []byte(value)
		case key == "until" && c.Until.IsZero():
			if c.Until, err = time.Parse(time.RFC3339, value); err != nil {
				return c, fmt.Errorf("column %d: expected until= and a time such as 2026-12-01T00:00:00Z", i+4)
			}
		case key == "expires" && c.Expires.IsZero():
			c.Expires, err = time.Parse(time.RFC3339, value)
			if c.Expires = c.Expires.UTC().Truncate(time.Second); err != nil || c.Expires.IsZero() {
				return c, fmt.Errorf("column %d: expected expires= and a time such as 2026-12-01T00:00:00Z", i+4)
			}
		case key == "services" && c.Services == "" && !slices.Contains(strings.Split(value, ","), ""):
			c.Services = strings.Clone(value) // a substring would keep the line, with its secrets
		case key == "services":
			c.issue, c.Services = max(c.issue, malformed), unreadable
		case isName:
			c.issue, c.Services = spaced, unreadable
		default:
			return c, fmt.Errorf(
				"column %d: expected old=SECRET, until=TIME, services=NAME,NAME, expires=TIME or note=TEXT, each once", i+4)
		}
	}
	if (c.Previous == nil) != c.Until.IsZero() {
		return c, errors.New("expected old= and until= together: the previous secret, and when it expires")
	}
	return c, nil
}

// String returns the client's line, which parseClient parses. It contains secrets.
func (c Client) String() string {
	text := fmt.Sprintf("%s %s %d", c.Identifier, c.Secret, c.HighestNonce)
	if c.Previous != nil {
		text += fmt.Sprintf(" old=%s until=%s", c.Previous, c.Until.UTC().Format(time.RFC3339))
	}
	if c.Services != "" {
		text += " services=" + c.Services
	}
	if !c.Expires.IsZero() {
		text += " expires=" + c.Expires.UTC().Format(time.RFC3339)
	}
	if c.Note != "" {
		text += " note=" + c.Note
	}
	return text
}

// ExpiryWarning is how long before a client expires the log and "check" warn of it.
const ExpiryWarning = 7 * 24 * time.Hour

// Expired reports whether the client is refused at now.
func (c Client) Expired(now time.Time) bool { return !c.Expires.IsZero() && !now.Before(c.Expires) }

// Rights returns a function that returns the services that a client may open (nil:
// all), whether the client exists, and when it has expired (zero: it has not, at now).
// The function knows only the clients in ids, and keeps nothing else of the list.
func (l List) Rights(ids []string, now time.Time) func(client string) (services []string, known bool, expired time.Time) {
	include := make(map[string]bool, len(ids))
	for _, id := range ids {
		include[id] = true
	}
	type right struct {
		services []string
		expired  time.Time
	}
	rights := map[string]right{}
	for _, c := range l {
		if id := c.Identifier.String(); include[id] {
			r := right{services: c.Allowed()}
			if c.Expired(now) {
				r.expired = c.Expires
			}
			rights[id] = r
		}
	}
	return func(client string) ([]string, bool, time.Time) {
		r, known := rights[client]
		return r.services, known, r.expired
	}
}
