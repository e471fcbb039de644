package fleetlist

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/sessions/fleet/roster"
	"sallyport/verify/wire"
)

// EntryError is the error of an entry that is not one line of a clients file with its own
// identifier, or that this release cannot parse. It contains no text of the line.
type EntryError struct {
	Client wire.Identifier
	Err    error
}

func (e *EntryError) Error() string {
	return fmt.Sprintf("the list of clients in etcd: client %q: %v", e.Client.String(), e.Err)
}

func (e *EntryError) Unwrap() error { return e.Err }

// Hint returns a remedy.
func (e *EntryError) Hint() string {
	return "if another gateway runs a newer release, update this one; otherwise remove the client (sallyportd client revoke), and add it again"
}

// checkForm returns an error if a line would not be exactly the line of this client in the
// copy.
func checkForm(id wire.Identifier, line []byte) error {
	n := len(id)
	if len(line) <= n || !bytes.HasPrefix(line, id[:]) || line[n] != ' ' && line[n] != '\t' || line[0] == '#' || bytes.ContainsAny(line, "\r\n") {
		return &EntryError{id, errors.New("expected one line that begins with its identifier")}
	}
	return nil
}

// checkLine parses the line of an entry. Services that cannot be parsed are no error yet.
func checkLine(id wire.Identifier, line []byte) (clients.Client, error) {
	if err := checkForm(id, line); err != nil {
		return clients.Client{}, err
	}
	c, err := clients.ParseLine(string(line))
	if err != nil {
		return c, &EntryError{id, err}
	}
	return c, nil
}

// linesOf returns the lines of entries, for commands.
func linesOf(entries []roster.Entry) ([]clients.Line, error) {
	lines := make([]clients.Line, 0, len(entries))
	for _, e := range entries {
		c, err := checkLine(e.ID, e.Line)
		if err != nil {
			return nil, err
		}
		lines = append(lines, clients.Line{Text: string(e.Line), Client: &c})
	}
	return lines, nil
}

// entriesOf returns the entries of lines that a command has changed, in the order of their
// identifiers. Other text than clients is dropped. All entries are valid.
func entriesOf(lines []clients.Line) ([]roster.Entry, error) {
	entries := make([]roster.Entry, 0, len(lines))
	for _, l := range lines {
		if l.Client == nil {
			continue
		}
		text, err := l.Rewritten()
		if err != nil {
			return nil, err
		}
		id, text := l.Client.Identifier, strings.TrimSpace(text)
		c, err := checkLine(id, []byte(text))
		if err == nil {
			err = c.CheckServices(c.Allowed()) // that they can be parsed
		}
		if err != nil {
			return nil, fmt.Errorf("the change would make the list of clients unreadable: %w", err)
		}
		entries = append(entries, roster.Entry{ID: id, Line: []byte(text)})
	}
	slices.SortFunc(entries, func(a, b roster.Entry) int { return compareIDs(a.ID, b.ID) })
	for i := range entries {
		if i > 0 && entries[i].ID == entries[i-1].ID {
			return nil, fmt.Errorf("expected each identifier once, got %s twice", entries[i].ID)
		}
	}
	return entries, nil
}

func compareIDs(a, b wire.Identifier) int { return cmp.Compare(string(a[:]), string(b[:])) }
