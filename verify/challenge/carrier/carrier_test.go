package carrier

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sallyport/verify/challenge/exchange"
)

func drawMessage(t *rapid.T) Message {
	m, err := New(
		Kind(rapid.IntRange(0, NumKinds-1).Draw(t, "kind")),
		Exchange(rapid.Uint64Range(0, uint64(MaxExchange)).Draw(t, "exchange")),
		rapid.SliceOfN(rapid.Byte(), 1, MaxMessage).Draw(t, "message"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestParts: the parts of a message, as labels and pages in any order and some of them
// twice, are the message, exactly when all of it has arrived.
func TestParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		type arrival struct {
			text     string
			from, to int // the units
		}
		var arrivals []arrival
		for i := range m.Labels() {
			label := string(m.AppendLabel(nil, i))
			if rapid.Bool().Draw(t, "upper case") {
				label = strings.ToUpper(label)
			}
			if len(label) > MaxLabel {
				t.Fatalf("a label of %d characters", len(label))
			}
			arrivals = append(arrivals, arrival{label, i * 5, min(i*5+5, m.Numbers())})
		}
		for range rapid.IntRange(0, 20).Draw(t, "pages") {
			from := rapid.IntRange(0, m.Numbers()-1).Draw(t, "from")
			to := rapid.IntRange(from+1, m.Numbers()).Draw(t, "to")
			path := string(m.AppendPath(nil, from, to))
			if len(path) > MaxPath {
				t.Fatalf("a path of %d bytes", len(path))
			}
			arrivals = append(arrivals, arrival{path, from, to})
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0))
		r.Shuffle(len(arrivals), func(i, j int) { arrivals[i], arrivals[j] = arrivals[j], arrivals[i] })
		a, have := NewAssembler(1), map[int]bool{}
		for _, came := range arrivals {
			var part Message
			form := "label"
			if came.text[0] == '/' {
				form = "path"
			}
			if reason := parse(&part, form, came.text); reason != Accepted {
				t.Fatalf("%s: %s", came.text, reason)
			}
			// A part that is the whole message requires no other, and is not kept.
			whole := came.to-came.from == m.Numbers()
			for i := came.from; i < came.to && !whole; i++ {
				have[i] = true
			}
			want := whole || len(have) == m.Numbers()
			if got := a.Add(&part, netip.Addr{}, time.Unix(0, 0)); got != want {
				t.Fatalf("complete is %t with %d of %d units", got, len(have), m.Numbers())
			}
			if want && part != m {
				t.Fatalf("%+v, want %+v", part, m)
			}
		}
	})
}

// TestAssemblerIsBounded: an assembler holds as many messages as it was made for, and
// a new one replaces the oldest.
func TestAssemblerIsBounded(t *testing.T) {
	a := NewAssembler(ways)
	part := func(x Exchange, i int) *Message {
		m, err := New(RequestConnection, x, make([]byte, 2*labelData))
		if err != nil {
			t.Fatal(err)
		}
		var p Message
		if reason := p.ParseLabel(m.AppendLabel(nil, i)); reason != Accepted {
			t.Fatal(reason)
		}
		return &p
	}
	now := time.Unix(1_700_000_000, 0)
	for x := range Exchange(ways + 1) {
		a.Add(part(x, 0), netip.Addr{}, now.Add(time.Duration(x)))
	}
	for x := Exchange(1); x <= ways; x++ {
		if !a.Add(part(x, 1), netip.Addr{}, now.Add(time.Second)) {
			t.Errorf("message %d was lost", x)
		}
	}
	if a.Add(part(0, 1), netip.Addr{}, now.Add(time.Second)) {
		t.Error("the oldest message was not replaced")
	}
	if len(a.entries) != ways {
		t.Errorf("%d entries", len(a.entries))
	}
}

// TestAssemblerKeepsKindsApart: a response does not add to the request of its exchange.
func TestAssemblerKeepsKindsApart(t *testing.T) {
	a := NewAssembler(1)
	for i, k := range []Kind{RequestConnection, Response, RequestConnection, Response} {
		m, err := New(k, 7, bytes.Repeat([]byte{byte(k)}, 2*labelData))
		if err != nil {
			t.Fatal(err)
		}
		var p Message
		if reason := p.ParseLabel(m.AppendLabel(nil, i/2)); reason != Accepted {
			t.Fatal(reason)
		}
		if got := a.Add(&p, netip.Addr{}, time.Unix(0, 0)); got != (i >= 2) || got && p != m {
			t.Errorf("part %d: complete is %t", i, got)
		}
	}
}

func TestNewRejects(t *testing.T) {
	for name, make := range map[string]func() (Message, error){
		"kind":     func() (Message, error) { return New(Response+1, 0, []byte("a")) },
		"exchange": func() (Message, error) { return New(Response, MaxExchange+1, []byte("a")) },
		"empty":    func() (Message, error) { return New(Response, 0, nil) },
		"long":     func() (Message, error) { return New(Response, 0, make([]byte, MaxMessage+1)) },
	} {
		if m, err := make(); err == nil || m.Complete() {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

// TestMessagesFit: each message of each algorithm fits, and those that the
// specification lists fit in one label.
func TestMessagesFit(t *testing.T) {
	if exchange.MaxSignedRequest > MaxMessage || exchange.SecuritySignatureSize > MaxMessage || exchange.ResponseSize > labelData || exchange.MaxChallenge > MaxChallenge {
		t.Error("a message is too long")
	}
	for a, longest := range map[exchange.Algorithm]int{exchange.Unilateral: 16, exchange.NATAware: 14, exchange.Mutual: 10} {
		for id := exchange.MinID; id <= exchange.MaxID; id++ {
			o, err := exchange.DescribeOperation(strings.Repeat("a", id), a, true)
			if err != nil {
				t.Fatal(err)
			}
			m, err := New(RequestConnection, 0, make([]byte, o.RequestSize(true)))
			want := 1
			if id > longest {
				want = 2
			}
			if err != nil || m.Labels() != want {
				t.Errorf("algorithm %d, an ID of %d bytes: %d labels, %v, want %d", a, id, m.Labels(), err, want)
			}
		}
	}
}

// TestParsingAllocatesNothing, whether the input is accepted or refused.
func TestParsingAllocatesNothing(t *testing.T) {
	v := readVectors(t)
	check := func(form, input string) {
		t.Helper()
		text := []byte(input)
		var m Message
		if n := testing.AllocsPerRun(10, func() {
			switch form {
			case "label":
				m.ParseLabel(text)
			case "path":
				m.ParsePath(input)
			case "form":
				m.ParseForm(text)
			}
		}); n != 0 {
			t.Errorf("%s %q: %v allocations", form, input, n)
		}
	}
	for _, r := range v.Refused {
		check(r.Form, r.Input)
	}
	for _, m := range v.Messages {
		check("label", m.Labels[0])
		check("path", m.Path)
		check("form", m.Form)
	}
	a := NewAssembler(8)
	var m Message
	label := []byte(v.Messages[3].Labels[0])
	if n := testing.AllocsPerRun(100, func() {
		if m.ParseLabel(label) != Accepted || a.Add(&m, netip.Addr{}, time.Unix(0, 0)) {
			t.Fatal("expected one part of two")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
