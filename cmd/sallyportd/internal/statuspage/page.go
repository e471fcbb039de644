package statuspage

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"io"
	"strconv"
	"strings"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
)

// Input is what a page shows. It may have texts of strangers.
type Input struct {
	Zone    *time.Location // of the times on the page
	Facts   []Fact
	Tables  []Table
	History admin.History
	Leases  []admin.Lease
}

// Fact is a line about the server.
type Fact struct {
	Name, Text string
	Attention  bool // it needs the attention of the administrator
}

// Table is a table with a row of headers.
type Table struct {
	Title string
	Head  []string
	Rows  [][]Cell
}

// Cell is a cell of a table.
type Cell struct {
	Text      string
	Attention bool
}

// Class is the class of the cell's element.
func (c Cell) Class() string {
	switch {
	case c.Attention:
		return "attention"
	case strings.Trim(c.Text, "0123456789.-\u202f") == "":
		return "number"
	}
	return "text"
}

// Numbers reports whether a column has numbers.
func (t Table) Numbers(column int) bool {
	return column > 0 && len(t.Rows) > 0 && column < len(t.Rows[0]) && t.Rows[0][column].Class() == "number"
}

//go:generate go -C generate tool templ generate -path ..

//go:embed parts/page.css
var style string

// colour is the class of a part of a bar.
func colour(n int) string { return "c" + strconv.Itoa(n) }

// policy forbids everything but the style of the page.
func policy() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// Write writes the page.
func Write(w io.Writer, in Input) error {
	if in.Zone == nil {
		in.Zone = time.UTC
	}
	return document(contents{
		When: in.History.Now.In(in.Zone).Format("2 January 2006, 15:04:05 MST"), Policy: policy(), Facts: in.Facts, Tables: in.Tables,
		Hour: hourOf(in.History, in.Zone), Leases: leasesOf(in.History, in.Leases, in.Zone),
	}).Render(context.Background(), w)
}
