package hostile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// Totals are the sums of all pieces without a violation.
type Totals struct {
	Pieces    int               `json:"pieces"`
	Datagrams uint64            `json:"datagrams"`
	Grants    uint64            `json:"grants"`   // always 0: a piece with a grant is not added
	Classes   map[string]uint64 `json:"classes"`  // datagrams, by class
	Counters  map[string]uint64 `json:"counters"` // of the server, for these datagrams
}

// Read reads totals; if the file does not exist, they are zero.
func Read(path string) (t Totals, err error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return t, fmt.Errorf("read the totals: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(text, &t); err != nil {
			return t, fmt.Errorf("read the totals in %s: %w", path, err)
		}
	}
	return t, nil
}

// Add adds a piece.
func (t *Totals) Add(p Piece) {
	if t.Classes == nil {
		t.Classes, t.Counters = map[string]uint64{}, map[string]uint64{}
	}
	t.Pieces++
	for _, c := range p.Classes {
		t.Datagrams += c.Sent
		t.Classes[c.Name] += c.Sent
		for name, n := range c.Counters {
			t.Counters[name] += n
		}
	}
}

// Write replaces the totals in a file.
func (t Totals) Write(path string) error {
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// Piece is the result for a number of datagrams of each class.
type Piece struct {
	Classes []Class `json:"classes"`
}

// Class is the result for a class.
type Class struct {
	Name     string            `json:"name"`
	Sent     uint64            `json:"sent"`
	Grants   int               `json:"grants"`
	Counters map[string]uint64 `json:"counters"` // by how much they have grown
}

// counted is how many datagrams the server has counted.
func (c Class) counted() (sum uint64) {
	for _, n := range c.Counters {
		sum += n
	}
	return sum
}

// Failure returns what is wrong with a piece; empty: nothing.
func (p Piece) Failure() string {
	for _, c := range p.Classes {
		switch {
		case c.Grants > 0:
			return fmt.Sprintf("%s: %d grants", c.Name, c.Grants)
		case c.Sent == 0:
			return c.Name + ": nothing was sent"
		case c.counted() != c.Sent:
			return fmt.Sprintf("%s: %d sent, %d counted: %v", c.Name, c.Sent, c.counted(), c.Counters)
		}
	}
	return ""
}

// WriteText writes the datagrams of each class and counter.
func (t Totals) WriteText(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%d datagrams in %d pieces, %d grants\n", t.Datagrams, t.Pieces, t.Grants)
	for _, list := range []struct {
		title   string
		numbers map[string]uint64
	}{{"sent, by class", t.Classes}, {"counted by the server", t.Counters}} {
		names := make([]string, 0, len(list.numbers))
		for name := range list.numbers {
			names = append(names, name)
		}
		slices.Sort(names)
		fmt.Fprintln(w, list.title+":")
		for _, name := range names {
			_, err = fmt.Fprintf(w, "%12d  %s\n", list.numbers[name], name)
		}
	}
	return err
}
