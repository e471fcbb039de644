package tomlfile

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// walk maps the dotted keys of a TOML text to their lines, as far as the text is
// valid. The tables of a list are numbered from 0.
func walk(data []byte) *walker {
	w := &walker{data: data, lines: map[string]int{}, lists: map[string]int{}}
	table := ""
	p := unstable.Parser{}
	p.Reset(data)
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table:
			name, line := w.key(e.Key())
			w.record("", e.Key())
			w.headers = append(w.headers, header{name, line, false})
			table = name + "."
		case unstable.ArrayTable:
			list, line := w.key(e.Key())
			name := list + "." + strconv.Itoa(w.lists[list])
			w.lists[list]++
			w.headers = append(w.headers, header{name, line, true})
			w.lines[name] = line
			table = name + "."
		case unstable.KeyValue:
			w.value(w.record(table, e.Key()), e.Value())
		}
	}
	return w
}

type walker struct {
	data    []byte
	lines   map[string]int
	lists   map[string]int // the number of tables so far, by the name of their list
	headers []header
}

// header is the line that begins a table.
type header struct {
	table string // dotted, with the number of the table in its list
	line  int
	list  bool // [[table]]; else [table]
}

// tableAt returns the table to which a line belongs; empty: the outermost one.
func (w *walker) tableAt(line int) (table string) {
	for _, h := range w.headers {
		if h.line <= line {
			table = h.table
		}
	}
	return table
}

// key returns a dotted key and its line.
func (w *walker) key(it unstable.Iterator) (name string, line int) {
	var parts []string
	offset := uint32(0)
	for it.Next() {
		parts = append(parts, string(it.Node().Data))
		offset = it.Node().Raw.Offset
	}
	return strings.Join(parts, "."), 1 + bytes.Count(w.data[:offset], []byte("\n"))
}

// record stores the line of a table's key, and returns the full key.
func (w *walker) record(table string, it unstable.Iterator) string {
	name, line := w.key(it)
	name = table + name
	if w.lines[name] == 0 {
		w.lines[name] = line
	}
	return name
}

// value records the keys inside a value.
func (w *walker) value(name string, v *unstable.Node) {
	switch v.Kind {
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			if e := it.Node(); e.Kind == unstable.KeyValue {
				w.value(w.record(name+".", e.Key()), e.Value())
			}
		}
	case unstable.Array:
		for i, it := 0, v.Children(); it.Next(); i++ {
			w.value(name+"."+strconv.Itoa(i), it.Node())
		}
	}
}
