package challenge

import (
	"strings"
	"testing"
	"time"
)

// TestPaperRanges: the sizes of the port range in Tables 1, 2 and 3, for
// requests of 14 bytes and responses of 20.
func TestPaperRanges(t *testing.T) {
	span := func(e Encoding) int {
		return max(codec(t, e, 14).Span(), codec(t, e, 20).Span())
	}
	// With 10 data bits the paper has 5 sequence bits, and so 32768 ports: 16
	// packets require 4.
	for bits, want := range map[[2]int]int{
		{12, 4}: 65536, {10, 5}: 32768, {10, 4}: 16384, {9, 5}: 16384, {8, 5}: 8192,
		{7, 5}: 4096, {6, 5}: 2048, {5, 5}: 1024, {3, 6}: 512,
	} {
		if got := span(Encoding{Scheme: Sequence, DataBits: bits[0], SequenceBits: bits[1]}); got != want {
			t.Errorf("Table 1, %d and %d bits: %d, want %d", bits[0], bits[1], got, want)
		}
	}
	for bits, want := range map[int]int{
		12: 57344, 11: 30720, 10: 16384, 9: 9216, 8: 5120, 7: 2944, 6: 1728, 5: 1024, 4: 640, 3: 432, 2: 320, 1: 320,
	} {
		for _, s := range []Scheme{Differences, Ranges} {
			if got := span(Encoding{Scheme: s, Base: 1, DataBits: bits}); got != want {
				t.Errorf("Table 2, %d bits, %s: %d, want %d", bits, s, got, want)
			}
		}
	}
	for bits, want := range map[int]int{15: 32768, 14: 16384, 13: 8192, 12: 4096, 11: 2048, 10: 1024, 9: 512, 8: 256} {
		if got := span(Encoding{Scheme: Delays, Base: 1024, DataBits: bits, Delay: 2 * time.Millisecond}); got != want {
			t.Errorf("Table 3, %d bits: %d, want %d", bits, got, want)
		}
	}
}

// TestPaperRestart: with footnote 5's restart after 20 packets, the longer
// request of Algorithm 3 requires no more ports than Table 2 has.
func TestPaperRestart(t *testing.T) {
	c := codec(t, Encoding{Scheme: Ranges, Base: 1024, DataBits: 8, Restart: 20}, 30)
	if c.Packets() != 30 || c.Span() != 5120 {
		t.Errorf("%d packets to %d ports", c.Packets(), c.Span())
	}
}

func TestPortZero(t *testing.T) {
	c := codec(t, Encoding{Scheme: Sequence, DataBits: 12, SequenceBits: 4}, 20)
	message := make([]byte, 20)
	if _, err := c.AppendPorts(nil, message); err == nil || !strings.Contains(err.Error(), "port 0") {
		t.Errorf("got %v", err)
	}
	// Only the first packet has the number 0, so only it can require port 0.
	message[0] = 1
	if ports, err := c.AppendPorts([]uint16{7}, message); err != nil || len(ports) != 1+c.Packets() {
		t.Errorf("%v, %v", ports, err)
	}
}

func TestMessageOfAnotherSize(t *testing.T) {
	c := codec(t, Encoding{Scheme: Ranges, Base: 1024, DataBits: 8}, 5)
	for _, n := range []int{0, 4, 6} {
		if _, err := c.AppendPorts(nil, make([]byte, n)); err == nil {
			t.Errorf("%d bytes are encoded", n)
		}
	}
	if _, err := c.Prefix(make([]byte, 6)); err == nil {
		t.Error("a prefix longer than the message")
	}
}

func TestSchemeNames(t *testing.T) {
	for s := Sequence; s <= Delays; s++ {
		text, _ := s.MarshalText()
		var got Scheme
		if err := got.UnmarshalText(text); err != nil || got != s {
			t.Errorf("%s: %s, %v", s, got, err)
		}
	}
	var s Scheme
	if _, err := s.MarshalText(); err == nil {
		t.Error("no scheme has a text")
	}
	for _, text := range []string{"", "Sequence", "scheme 0"} {
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is a scheme", text)
		}
	}
}

func TestPlan(t *testing.T) {
	watched := Ports{20000, 29215}
	request := Encoding{Scheme: Sequence, Base: 20000, DataBits: 8, SequenceBits: 4}
	response := Encoding{Scheme: Ranges, Base: 24096, DataBits: 8}
	requests, responses, err := Plan{Request: request, Response: response, Ports: watched}.Codecs(14, 20)
	if err != nil || requests.Packets() != 14 || responses.Packets() != 20 {
		t.Fatalf("%v", err)
	}
	early := Encoding{Scheme: Ranges, Base: 19999, DataBits: 8}
	late := Encoding{Scheme: Sequence, Base: 25124, DataBits: 8, SequenceBits: 4}
	touching := Encoding{Scheme: Ranges, Base: 24093, DataBits: 8}
	rotating, below, backwards := Ports{1025, 65535}, Ports{1025, 20000}, Ports{10, 5}
	low, lower := response, response
	low.Base, low.DataBits = 600, 2
	lower.Base, lower.DataBits = 300, 2
	for what, p := range map[string]struct {
		Plan
		want string
	}{
		"a request of":      {Plan{Request: Encoding{}, Response: response, Ports: watched}, "request: encoding"},
		"a response of":     {Plan{Request: request, Response: Encoding{Scheme: Delays}, Ports: watched}, "response: encoding"},
		"below the range":   {Plan{Request: request, Response: early, Ports: watched}, "are watched"},
		"above the range":   {Plan{Request: late, Response: response, Ports: watched}, "25124 to 29217"},
		"one late packet":   {Plan{Request: request, Response: touching, Ports: watched}, "responses, 24093 to 29212: a late packet"},
		"port 0":            {Plan{Request: request, Response: response, Ports: Ports{0, 65535}}, "expected ports from 1"},
		"the wrong way":     {Plan{Request: request, Response: response, Ports: Ports{2000, 1000}}, "in ascending order"},
		"the rotating ones": {Plan{Request: request, Response: response, Ports: watched, Reserved: &rotating}, "1025 to 65535, which are reserved"},
		"those below":       {Plan{Request: request, Response: response, Ports: watched, Reserved: &below}, "1025 to 20000, which are reserved"},
		"backwards":         {Plan{Request: request, Response: response, Ports: watched, Reserved: &backwards}, "reserved ports in ascending order"},
	} {
		if _, _, err := p.Codecs(14, 20); err == nil || !strings.Contains(err.Error(), p.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	lowest := Plan{Request: lower, Response: low, Ports: Ports{1, 1024}, Reserved: &rotating}
	if _, _, err := lowest.Codecs(14, 20); err != nil {
		t.Errorf("below the rotating ports: %v", err)
	}
	above := Plan{Request: request, Response: response, Ports: watched, Reserved: &Ports{1, 19999}}
	if _, _, err := above.Codecs(14, 20); err != nil {
		t.Errorf("above the reserved ports: %v", err)
	}
}
