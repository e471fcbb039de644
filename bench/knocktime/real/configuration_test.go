package real

import (
	"strings"
	"testing"

	"sallyport/bench/knocktime"
	"sallyport/bench/knocktime/line"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// TestLayouts: each row of the paper has a layout within the 65535 ports, and its
// exchange has the knocks of the row's model.
func TestLayouts(t *testing.T) {
	count := 0
	for _, r := range knocktime.Rows() {
		for _, e := range encodings(r) {
			count++
			fits := false
			for _, c := range layouts(e, exchange.NATAware) {
				in, err1 := c.request.Codec(c.requestBytes())
				out, err2 := c.response.Codec(exchange.ResponseSize)
				if c.shared && c.request.Base != c.response.Base {
					t.Errorf("%s: not shared: %+v", r, c)
				}
				fits = fits || err1 == nil && err2 == nil && (c.shared || in.Last() < out.First())
			}
			if !fits {
				t.Errorf("%s: no layout", r)
			}
			x := layouts(e, exchange.NATAware)[0].exchange()
			if got, want := x.Time(line.Slow), r.Model().Time; e.Delay == 0 && got != want {
				t.Errorf("%s: %v on the line, %v by the model", r, got, want)
			}
		}
	}
	if count != 8+1+24+16 {
		t.Errorf("%d encodings", count)
	}
}

func TestConfigurationAsText(t *testing.T) {
	e := challenge.Encoding{Scheme: challenge.Sequence, DataBits: 8, SequenceBits: 5, Restart: 20}
	c := layouts(e, exchange.Mutual)[0]
	for _, want := range []string{
		"ports = \"1024-17383\"", "algorithm = 3", "[challenge.response]\nscheme = \"sequence\"\nbase = 9204\ndata_bits = 8\nsequence_bits = 5\nrestart = 20\n",
	} {
		if !strings.Contains(c.text(), want) {
			t.Errorf("no %q in\n%s", want, c.text())
		}
	}
	if n := c.exchange(); n.Request != 30 || n.Response != 20 {
		t.Errorf("%+v", n)
	}
}
