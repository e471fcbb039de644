package paper

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"sallyport/verify/challenge"
)

// TestPaperRanges: the sizes of the port ranges in the paper's tables.
func TestPaperRanges(t *testing.T) {
	for _, r := range Rows() {
		request, err1 := r.Encoding(0).Codec(Request4)
		response, err2 := r.Encoding(0).Codec(Response)
		if err1 != nil || err2 != nil {
			t.Fatal(r, err1, err2)
		}
		if got := max(request.Span(), response.Span()); r.Ports != 0 && got != r.Ports {
			t.Errorf("%s: %d ports, want %d", r, got, r.Ports)
		}
	}
}

// specification is the file that has the table of Document.
const specification = "../PROTOCOL.md"

// TestSpecification: the table in the specification is what the code does.
func TestSpecification(t *testing.T) {
	text, err := os.ReadFile(specification)
	if err != nil {
		t.Fatal(err)
	}
	if want := document(); !strings.Contains(string(text), want) {
		t.Errorf("%s does not have this table:\n%s", specification, want)
	}
}

// document returns the table of rows in Markdown.
func document() string {
	var b strings.Builder
	b.WriteString("| Table | scheme | bits | ports in the paper | over IPv4 | over IPv4 and IPv6 |\n|---|---|---|---|---|---|\n")
	rows := Rows()
	for i, r := range rows {
		if r.Scheme == challenge.Ranges {
			continue // as differences
		}
		scheme := "`" + r.Scheme.String() + "`"
		if r.Scheme == challenge.Differences {
			scheme += ", `ranges`"
		}
		bits, ports := fmt.Sprint(r.DataBits), fmt.Sprint(r.Ports)
		if r.SequenceBits > 0 {
			bits += fmt.Sprintf(" + %d", r.SequenceBits)
		}
		if r.Ports == 0 {
			ports = "not in the paper"
		}
		same := r
		if r.Scheme == challenge.Differences {
			same.Scheme = challenge.Ranges
		}
		cells := make([]string, 2)
		for j, both := range []bool{false, true} {
			cells[j] = deployed(rows[i], both)
			if other := deployed(same, both); other != cells[j] {
				cells[j] = fmt.Sprintf("`%s`: %s; `%s`: %s", r.Scheme, cells[j], same.Scheme, other)
			}
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s | %s |\n", r.Table, scheme, bits, ports, cells[0], cells[1])
	}
	return b.String()
}

// deployed describes the plan of a row, or why it has none.
func deployed(r Row, both bool) string {
	p, err := r.Plan(both)
	if err != nil {
		_, reason, _ := strings.Cut(strings.NewReplacer("\n", "; shared: ").Replace(err.Error()), ": ")
		return "no: " + reason
	}
	if p.Shared {
		return fmt.Sprintf("%d–%d, shared", p.Ports.First, p.Ports.Last)
	}
	return fmt.Sprintf("%d–%d, %d–%d", p.Request.Base, p.Response.Base-1, p.Response.Base, p.Ports.Last)
}

// TestSharing: the data bits with which the paper's operation can share ports over
// IPv4, as ../PROTOCOL.md has them.
func TestSharing(t *testing.T) {
	want := map[challenge.Scheme][]int{
		challenge.Sequence:    {6, 7, 8, 9, 10, 11, 12},
		challenge.Ranges:      {6, 7, 8, 9, 10, 11, 12},
		challenge.Differences: {7, 8, 9, 10, 11, 12},
		challenge.Delays:      {10, 11, 14, 15},
	}
	for scheme, bits := range want {
		var got []int
		for b := 1; b <= 15; b++ {
			r := Row{Scheme: scheme, DataBits: b}
			if scheme == challenge.Sequence {
				r.SequenceBits = min(16-b, 6)
			}
			p := challenge.Plan{Request: r.Encoding(1), Response: r.Encoding(1), Shared: true, Ports: challenge.Ports{First: 1, Last: 65535}}
			if _, _, err := p.Codecs(Request4, Response); err == nil {
				got = append(got, b)
			}
		}
		if !slices.Equal(got, bits) {
			t.Errorf("%s: %v, want %v", scheme, got, bits)
		}
	}
}
