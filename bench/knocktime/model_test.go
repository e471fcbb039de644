package knocktime

import (
	"maps"
	"testing"
	"time"
)

// slip is a figure of the paper that does not follow from its assumptions.
type slip struct {
	table, dataBits int
	delay           time.Duration
	figure          string
}

func TestModelIsThePapersButForItsSlips(t *testing.T) {
	want := map[slip][2]int{
		{1, 7, 0, "ms"}:             {300, 296},
		{2, 7, 0, "ms"}:             {300, 296},
		{3, 9, 2 * ms, "ms"}:        {323, 326},
		{1, 10, 0, "sequence bits"}: {5, 4},
		{1, 10, 0, "range"}:         {32768, 16384},
	}
	got := map[slip][2]int{}
	tables := map[int]int{}
	for _, r := range Rows() {
		tables[r.Table]++
		m := r.Model()
		for _, figure := range []struct {
			name        string
			paper, ours int
		}{
			{"ms", int(r.Paper.Time / ms), int(millisecond(m.Time) / ms)},
			{"sequence bits", r.Paper.SequenceBits, m.SequenceBits},
			{"range", r.Paper.Range, m.Range},
		} {
			if figure.paper != figure.ours {
				got[slip{r.Table, r.DataBits, r.Delay, figure.name}] = [2]int{figure.paper, figure.ours}
			}
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("the paper's and ours differ in\n%v\nwant\n%v", got, want)
	}
	if want := (map[int]int{1: 8, 2: 12, 3: 16}); !maps.Equal(tables, want) {
		t.Errorf("rows a table: %v, want %v", tables, want)
	}
}

func TestModelIsExact(t *testing.T) {
	for _, row := range []struct {
		Row
		microseconds int64
	}{
		{Row{Table: 1, DataBits: 12}, 243_000},
		{Row{Table: 1, DataBits: 9}, 267_500},
		{Row{Table: 2, DataBits: 7}, 295_500},
		{Row{Table: 2, DataBits: 1}, 1_111_000},
		{Row{Table: 3, DataBits: 15, Delay: 5 * ms}, 310_500},
		{Row{Table: 3, DataBits: 9, Delay: 2 * ms}, 325_500},
	} {
		if got := row.Model().Time; got != time.Duration(row.microseconds)*time.Microsecond {
			t.Errorf("Table %d, %d data bits, delay %v: %v, want %d µs", row.Table, row.DataBits, row.Delay, got, row.microseconds)
		}
	}
}

// TestEncodingsAreTheRows: each encoding has the packets and ports of its row.
func TestEncodingsAreTheRows(t *testing.T) {
	for _, r := range Rows() {
		m := r.Model()
		request, response := r.packets()
		for _, e := range r.Encodings() {
			for bytes, packets := range map[int]int{requestBytes: request, responseBytes: response} {
				c, err := e.Codec(bytes)
				if err != nil {
					t.Errorf("%+v: %v", e, err)
					continue
				}
				if c.Packets() != packets || c.Delay() != r.Delay {
					t.Errorf("%+v, %d bytes: %d packets with pauses of %v, want %d with %v", e, bytes, c.Packets(), c.Delay(), packets, r.Delay)
				}
				if bytes == responseBytes && (c.Span() != m.Range || c.First() != e.Base) {
					t.Errorf("%+v: %d ports from %d, want %d", e, c.Span(), c.First(), m.Range)
				}
			}
		}
	}
}
