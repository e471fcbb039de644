package statuspage

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"strings"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/admin"
)

// hostile are texts that a page must not interpret.
const hostile = `"'><script>document.body.innerHTML='<img src=/stolen>'</script><img src="/stolen" onerror=x><style>@import "/stolen"</style></style></svg>{{.}}`

// hostilePage has a hostile text wherever a text can be.
func hostilePage() Input {
	in := full()
	for i := range in.Facts {
		in.Facts[i] = Fact{Name: hostile, Text: hostile, Attention: true}
	}
	for i := range in.Tables {
		in.Tables[i].Title, in.Tables[i].Head[0] = hostile, hostile
		for _, row := range in.Tables[i].Rows {
			for j := range row {
				row[j].Text = hostile
			}
		}
	}
	for _, m := range in.History.Minutes {
		m.Refused[hostile] = 1 << 40
	}
	spoil := func(l *admin.Lease) {
		l.Service, l.Client, l.Waits, l.Zone, l.Operation = hostile, hostile, hostile, hostile, hostile
	}
	for i := range in.Leases {
		spoil(&in.Leases[i])
	}
	in.Leases[0].Client = ""
	for i := range in.History.Ended {
		spoil(&in.History.Ended[i].Lease)
		in.History.Ended[i].Reason = hostile
	}
	return in
}

// TestTextsAreEscaped: no text adds an element or an attribute to the page.
func TestTextsAreEscaped(t *testing.T) {
	text := pageOf(t, hostilePage())
	for _, made := range []string{"<script", "<img", "@import \"", "onerror=x>", "</svg>{{"} {
		if strings.Contains(text, made) {
			t.Errorf("the page has %s", made)
		}
	}
	if n := strings.Count(html.UnescapeString(text), hostile); n < 30 {
		t.Errorf("the page shows the texts %d times", n)
	}
	if n := strings.Count(text, "<style"); n != 1 {
		t.Errorf("%d styles", n)
	}
}

// TestPolicy: the policy of the page has the digest of the style that is in it.
func TestPolicy(t *testing.T) {
	text := pageOf(t, full())
	_, rest, _ := strings.Cut(text, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	want := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	_, rest, _ = strings.Cut(text, `http-equiv="Content-Security-Policy" content="`)
	got, _, _ := strings.Cut(rest, `"`)
	got = html.UnescapeString(got)
	if !strings.Contains(got, want) || !strings.HasPrefix(got, "default-src 'none'") || style == "" {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestHour: the bars stand at their minutes, on each other, with the most frequent reason at
// the bottom, and their heights are in proportion.
func TestHour(t *testing.T) {
	h := admin.History{Now: now}
	for i := range 3 {
		h.Minutes = append(h.Minutes, admin.Minute{Begin: now.Add(time.Duration(i-3) * time.Minute), Refused: map[string]uint64{}})
	}
	for i, name := range []string{"f", "e", "d", "c", "b", "a", "a0"} {
		h.Minutes[0].Refused[name] = uint64(10 * (i + 1)) // 280 in all
	}
	h.Minutes[2].Refused["a0"] = 140
	p := hourOf(h, time.UTC)
	got := fmt.Sprint(p.Total, p.Most, p.Short, p.Legend)
	if want := "420 280 3 [{a0 210 1} {a 60 2} {b 50 3} {c 40 4} {d 30 5} {other reasons 30 0}]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got = ""
	for _, b := range p.Bars {
		got += fmt.Sprintf("%d:%.1f+%.1f/%d ", b.X, b.Y, b.Height, b.Colour)
	}
	want := "57:75.0+25.0/1 57:53.6+21.4/2 57:35.7+17.9/3 57:21.4+14.3/4 57:10.7+10.7/5 57:0.0+10.7/0 59:50.0+50.0/1 "
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got, want = fmt.Sprint(p.Table), "{ [minute from a0 a b c d other reasons] [[{11:59:00 false} {140 false} {0 false} {0 false} {0 false} {0 false} {0 false}] [{11:57:00 false} {70 false} {60 false} {50 false} {40 false} {30 false} {30 false}]]}"
	if got != want {
		t.Errorf("got  %s", got)
	}
	if p := hourOf(admin.History{}, time.UTC); p.Total != 0 || len(p.Bars) != 0 {
		t.Errorf("nothing: %+v", p)
	}
	if !strings.Contains(pageOf(t, Input{}), "Nothing was refused.") {
		t.Error("an empty page")
	}
}

// TestLine: a lease is where its times are, cut at the ends of the line; leases that ended
// before it are left out, and so are leases beyond the limit, which are counted.
func TestLine(t *testing.T) {
	lease := func(since, until time.Duration) admin.Lease {
		end := now.Add(until)
		return admin.Lease{Service: "web", Since: now.Add(since), Until: &end, InForce: true}
	}
	open := lease(-time.Minute, 0)
	open.Until = nil
	h := admin.History{Now: now, Ended: []admin.EndedLease{{Lease: lease(-2*time.Hour, -61*time.Minute)}, {Lease: lease(-2*time.Hour, -59*time.Minute)}, {Lease: lease(-time.Minute, -time.Minute), Reason: "revoked"}}}
	p := leasesOf(h, []admin.Lease{lease(-10*time.Minute, 20*time.Minute), lease(-50*time.Hour, 50*time.Hour), open}, time.UTC)
	var got []string
	for _, b := range append(p.InForce, p.Ended...) {
		got = append(got, fmt.Sprintf("%d+%d %s %s", b.X, b.Width, b.Time, b.State))
	}
	want := []string{
		"3000+1800 11:50:00 – 12:20:00 in force", "0+7200 2026-02-27 10:00 – 2026-03-03 14:00 in force", "3540+3660 11:59:00 – until closed in force",
		"3540+1 11:59:00 – 11:59:00 ended: revoked", "0+60 10:00:00 – 11:01:00 ended: ",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") || p.Now != 3600 || p.Length != 7200 || p.Begin != "11:00" || p.End != "13:00" {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	many := make([]admin.Lease, maxBars+7)
	if p := leasesOf(h, many, time.UTC); len(p.InForce) != maxBars || p.Left != 7 || len(p.Table.Rows) != maxBars+2 {
		t.Errorf("%d drawn, %d left", len(p.InForce), p.Left)
	}
}

func TestNumber(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1\u202f000", 1234567: "1\u202f234\u202f567"} {
		if got := number(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}
