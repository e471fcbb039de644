package tomlfile

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// lines maps the dotted keys of a valid TOML text to their lines. The tables
// of a list are numbered from 0. The empty key maps to the last line.
func lines(data []byte) map[string]int {
	lastLine := 1 + bytes.Count(bytes.TrimRight(data, "\n"), []byte("\n"))
	w := walker{data: data, lines: map[string]int{"": lastLine}, lists: map[string]int{}}
	table := ""
	p := unstable.Parser{}
	p.Reset(data)
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table:
			table = w.record("", e.Key()) + "."
		case unstable.ArrayTable:
			name, line := w.key(e.Key())
			table = name + "." + strconv.Itoa(w.lists[name]) + "."
			w.lists[name]++
			w.lines[strings.TrimSuffix(table, ".")] = line
		case unstable.KeyValue:
			w.value(w.record(table, e.Key()), e.Value())
		}
	}
	return w.lines
}

type walker struct {
	data  []byte
	lines map[string]int
	lists map[string]int // the number of tables so far, by the name of their list
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
