package fleetlist

import (
	"context"
	"errors"
	"slices"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/sessions/fleet/roster"
	"sallyport/verify/wire"
)

// Read returns the list as lines, in the order of the identifiers. Errors are those of
// roster.Load, and EntryError.
func (l *List) Read(ctx context.Context) (lines []clients.Line, version uint64, err error) {
	head, err := l.roster.Head(ctx)
	if err != nil {
		return nil, 0, err
	}
	if lines, ok := l.copy.lines(head); ok {
		return lines, head.Version, nil
	}
	entries, mark, err := l.roster.Load(ctx)
	if err != nil {
		return nil, 0, err
	}
	lines, err = linesOf(entries)
	return lines, mark.Version, err
}

// Edit changes clients: change gets the lines of those ids that exist, in the order of
// ids, and returns them changed; a line that it leaves out is removed. It may be called
// again. All changes are one transaction. Errors are those of change, of roster.Edit, and
// EntryError.
func (l *List) Edit(ctx context.Context, ids []wire.Identifier, change func([]clients.Line) ([]clients.Line, error)) error {
	return l.roster.Edit(ctx, ids, func(current map[wire.Identifier][]byte) ([]roster.Change, error) {
		var before []roster.Entry
		for _, id := range ids {
			if line, ok := current[id]; ok {
				before = append(before, roster.Entry{ID: id, Line: line})
			}
		}
		lines, err := linesOf(before)
		if err != nil {
			return nil, err
		}
		if lines, err = change(lines); err != nil {
			return nil, err
		}
		after, err := entriesOf(lines)
		if err != nil {
			return nil, err
		}
		var changes []roster.Change
		for _, e := range after {
			changes = append(changes, roster.Change(e))
		}
		for _, e := range before {
			if !slices.ContainsFunc(after, func(a roster.Entry) bool { return a.ID == e.ID }) {
				changes = append(changes, roster.Change{ID: e.ID})
			}
		}
		return changes, nil
	})
}

// Remove removes a client, even if its line is invalid. It reports whether there was such
// a client.
func (l *List) Remove(ctx context.Context, id wire.Identifier) (found bool, err error) {
	err = l.roster.Edit(ctx, []wire.Identifier{id}, func(current map[wire.Identifier][]byte) ([]roster.Change, error) {
		_, found = current[id]
		return []roster.Change{{ID: id}}, nil
	})
	return found, err
}

// Import replaces the whole list by one that the operator gives. All gateways accept it:
// see roster.Replace.
func (l *List) Import(ctx context.Context, lines []clients.Line) error {
	entries, err := entriesOf(lines)
	if err != nil {
		return err
	}
	return l.roster.Replace(ctx, slices.Values(entries))
}

// EditAll is Edit for changes of more clients than one transaction has: change gets all
// lines. If another command changes the list meanwhile, EditAll begins again.
func (l *List) EditAll(ctx context.Context, change func([]clients.Line) ([]clients.Line, error)) error {
	for {
		entries, mark, err := l.roster.Load(ctx)
		if err != nil {
			return err
		}
		lines, err := linesOf(entries)
		if err != nil {
			return err
		}
		if lines, err = change(lines); err != nil {
			return err
		}
		if entries, err = entriesOf(lines); err != nil {
			return err
		}
		err = l.roster.ReplaceAt(ctx, mark.Version, slices.Values(entries))
		if !errors.Is(err, roster.ErrChanged) {
			return err
		}
	}
}
