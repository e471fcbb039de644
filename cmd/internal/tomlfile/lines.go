package tomlfile

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// lines maps the dotted keys of a valid TOML text to their lines. The tables
// of a list are numbered from 0; the empty key is the last line.
func lines(data []byte) map[string]int {
	w := walker{data: data, lines: map[string]int{"": 1 + bytes.Count(bytes.TrimRight(data, "\n"), []byte("\n"))}, lists: map[string]int{}}
	table := ""
	p := unstable.Parser{}
	p.Reset(data)
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table:
			table = w.note("", e.Key()) + "."
		case unstable.ArrayTable:
			name, at := w.key(e.Key())
			table = name + "." + strconv.Itoa(w.lists[name]) + "."
			w.lists[name]++
			w.lines[strings.TrimSuffix(table, ".")] = at
		case unstable.KeyValue:
			w.value(w.note(table, e.Key()), e.Value())
		}
	}
	return w.lines
}

type walker struct {
	data  []byte
	lines map[string]int
	lists map[string]int
}

// key returns a key with its dots, and its line.
func (w *walker) key(it unstable.Iterator) (name string, line int) {
	var parts []string
	at := uint32(0)
	for it.Next() {
		parts = append(parts, string(it.Node().Data))
		at = it.Node().Raw.Offset
	}
	return strings.Join(parts, "."), 1 + bytes.Count(w.data[:at], []byte("\n"))
}

// note records where a key of a table stands, and returns its full name.
func (w *walker) note(table string, it unstable.Iterator) string {
	name, line := w.key(it)
	name = table + name
	if w.lines[name] == 0 {
		w.lines[name] = line
	}
	return name
}

// value looks for keys inside a value.
func (w *walker) value(name string, v *unstable.Node) {
	switch v.Kind {
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			if e := it.Node(); e.Kind == unstable.KeyValue {
				w.value(w.note(name+".", e.Key()), e.Value())
			}
		}
	case unstable.Array:
		for i, it := 0, v.Children(); it.Next(); i++ {
			w.value(name+"."+strconv.Itoa(i), it.Node())
		}
	}
}
