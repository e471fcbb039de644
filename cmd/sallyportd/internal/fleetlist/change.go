package fleetlist

import (
	"bytes"
	"log/slog"
	"slices"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/fleet/roster"
)

// Change is a list that the server must have from now on. It is valid until the function
// that got it returns.
type Change struct {
	Version uint64
	// Whole: Clients are all clients of the list. Otherwise they are those that differ from the
	// list before. The server removes rights of these at once: Load may take seconds.
	Whole   bool
	Clients []roster.Change

	mark  roster.Mark
	copy  *Copy
	log   *slog.Logger
	built *text // of a whole list
	err   error // why it is none
}

// Load makes the list the newest one, on disk or, if that fails, in memory, and returns its
// clients. The caller calls Copy.Applied when they are in force. If the list cannot be
// parsed, the copy stays, and no reload succeeds until there is another list.
func (c Change) Load(cfg *config.Config) (clients.Loaded, error) {
	t, list, err := c.parse()
	if err != nil {
		c.copy.refuse(err)
		return clients.Loaded{}, err
	}
	c.copy.take(t, c.log)
	known := cfg.ServiceNames()
	for i := range list {
		if err := list[i].CheckServices(known); err != nil {
			return clients.Loaded{}, &EntryError{list[i].Identifier, err}
		}
	}
	return clients.Loaded{List: list, Whole: true}, nil
}

func (c Change) parse() (t text, list clients.List, err error) {
	switch {
	case c.err != nil:
		return t, nil, c.err
	case c.built != nil:
		t = *c.built
	default:
		if t, err = merge(c.copy, c.mark, c.Clients); err != nil {
			return t, nil, err
		}
	}
	for _, x := range c.Clients {
		if c.Whole || x.Line == nil {
			continue
		}
		if _, err := checkLine(x.ID, x.Line); err != nil { // which names the client
			return t, nil, err
		}
	}
	list, err = clients.ReadText(c.copy.path, t.all, nil)
	return t, list, err
}

// whole returns the text of a list.
func whole(mark roster.Mark, list []roster.Change) (text, error) {
	sorted := func(a, b roster.Change) int { return compareIDs(a.ID, b.ID) }
	if !slices.IsSortedFunc(list, sorted) {
		list = slices.Clone(list)
		slices.SortFunc(list, sorted)
	}
	size := 0
	for _, c := range list {
		if err := checkForm(c.ID, c.Line); err != nil {
			return text{}, err
		}
		size += len(c.Line) + 1
	}
	first := headerOf(mark)
	all := append(make([]byte, 0, len(first)+size), first...)
	for _, c := range list {
		all = append(append(all, c.Line...), '\n')
	}
	return text{mark, all}, nil
}

// merge returns the newest text with changes.
func merge(c *Copy, mark roster.Mark, changes []roster.Change) (text, error) {
	base, err := c.base()
	if err != nil {
		return text{}, err
	}
	defer clear(base)
	changes = slices.Clone(changes)
	slices.SortFunc(changes, func(a, b roster.Change) int { return compareIDs(a.ID, b.ID) })
	size := len(headerOf(mark)) + len(base)
	for _, x := range changes {
		if x.Line != nil {
			if err := checkForm(x.ID, x.Line); err != nil {
				return text{}, err
			}
		}
		size += len(x.Line) + 1
	}
	all := append(make([]byte, 0, size), headerOf(mark)...)
	_, rest, _ := bytes.Cut(base, []byte("\n"))
	for _, x := range changes {
		n := before(rest, x.ID[:])
		all, rest = append(all, rest[:n]...), rest[n:]
		if bytes.HasPrefix(rest, x.ID[:]) { // the old line
			_, rest, _ = bytes.Cut(rest, []byte("\n"))
		}
		if x.Line != nil {
			all = append(append(all, x.Line...), '\n')
		}
	}
	return text{mark, append(all, rest...)}, nil
}

// before returns how many bytes of sorted lines are before the place of an identifier.
func before(lines, id []byte) int {
	n := 0
	for n < len(lines) && bytes.Compare(lines[n:min(n+len(id), len(lines))], id) < 0 {
		end := bytes.IndexByte(lines[n:], '\n')
		if end < 0 {
			return len(lines)
		}
		n += end + 1
	}
	return n
}
