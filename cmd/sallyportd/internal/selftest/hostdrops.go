package selftest

import (
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// HostDrops returns how many packets the host has dropped, since the boot, because a queue
// of a processor or the table of connections was full: a flood at an interface can fill
// both, and the loopback uses them, too. 0: not known. proc is /proc.
func HostDrops(proc fs.FS) (n uint64) {
	const dropped, flowLimit = 1, 10 // columns of a processor
	for _, row := range rows(proc, "net/softnet_stat") {
		n += row.hex(dropped) + row.hex(flowLimit)
	}
	table := rows(proc, "net/stat/nf_conntrack")
	if len(table) == 0 {
		return n
	}
	for _, name := range []string{"drop", "early_drop", "insert_failed"} {
		column := slices.Index(table[0], name)
		for _, row := range table[1:] {
			n += row.hex(column)
		}
	}
	return n
}

// row is the columns of a line.
type row []string

func rows(proc fs.FS, name string) (list []row) {
	text, err := fs.ReadFile(proc, name)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		list = append(list, strings.Fields(line))
	}
	return list
}

// hex returns a number of a column; 0: there is none.
func (r row) hex(column int) uint64 {
	if column < 0 || column >= len(r) {
		return 0
	}
	n, _ := strconv.ParseUint(r[column], 16, 64)
	return n
}
