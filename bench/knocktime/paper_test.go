package knocktime

import (
	"testing"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/paper"
)

// TestRowsAreThoseOfPackagePaper: both packages have the same rows with the same sizes
// of port ranges, so that the measured rows are those that the specification deploys.
func TestRowsAreThoseOfPackagePaper(t *testing.T) {
	type row struct {
		table, bits, sequenceBits, ports int
		scheme                           challenge.Scheme
	}
	deployed := map[row]bool{}
	for _, r := range paper.Rows() {
		if r.Ports > 0 { // the paper has it
			deployed[row{r.Table, r.DataBits, r.SequenceBits, r.Ports, r.Scheme}] = true
		}
	}
	measured := map[row]bool{}
	for _, r := range Rows() {
		for _, e := range r.Encodings() {
			key := row{r.Table, r.DataBits, r.Paper.SequenceBits, r.Paper.Range, e.Scheme}
			if measured[key] = true; !deployed[key] {
				t.Errorf("package paper lacks %+v", key)
			}
		}
	}
	if len(measured) != len(deployed) {
		t.Errorf("%d rows are measured, and package paper has %d", len(measured), len(deployed))
	}
}
