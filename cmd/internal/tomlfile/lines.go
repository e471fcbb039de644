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
	lines := map[string]int{"": 1 + bytes.Count(bytes.TrimRight(data, "\n"), []byte("\n"))}
	lists := map[string]int{}
	table := ""
	p := unstable.Parser{}
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		var parts []string
		at := uint32(0)
		for key := e.Key(); key.Next(); {
			parts = append(parts, string(key.Node().Data))
			at = key.Node().Raw.Offset
		}
		if len(parts) == 0 {
			continue
		}
		name := strings.Join(parts, ".")
		switch e.Kind {
		case unstable.Table:
			table = name + "."
		case unstable.ArrayTable:
			name += "." + strconv.Itoa(lists[name])
			lists[strings.Join(parts, ".")]++
			table = name + "."
		default:
			name = table + name
		}
		if lines[name] == 0 {
			lines[name] = 1 + bytes.Count(data[:at], []byte("\n"))
		}
	}
	return lines
}
