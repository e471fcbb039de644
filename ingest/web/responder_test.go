package web

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

var start = time.Unix(1_700_000_000, 0)

// newResponder makes a responder for testZone.
func newResponder(t testing.TB, e Exchanges) *responder {
	t.Helper()
	d, err := NewDNS(DNSConfig{Zone: Zone{Name: testZone, Servers: []string{"ns1.example.com", "ns2.example.net"}}, Exchanges: e})
	if err != nil {
		t.Fatal(err)
	}
	return &d.responder
}

// asked is a query of a test.
type asked struct {
	name     string // without the final dot
	kind     dnsmessage.Type
	class    dnsmessage.Class // 0: IN
	header   dnsmessage.Header
	edns     bool
	version  uint32
	size     uint16
	twice    bool // two questions
	twoOPT   bool
	noAsking bool // no question
}

func (a asked) pack(t testing.TB) []byte {
	t.Helper()
	a.header.ID = 0x1234
	b := dnsmessage.NewBuilder(nil, a.header)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(b.StartQuestions())
	if a.class == 0 {
		a.class = dnsmessage.ClassINET
	}
	question := dnsmessage.Question{Name: dnsmessage.MustNewName(a.name + "."), Type: a.kind, Class: a.class}
	if !a.noAsking {
		check(b.Question(question))
	}
	if a.twice {
		check(b.Question(question))
	}
	check(b.StartAdditionals())
	for i := range 2 {
		if !a.edns || i == 1 && !a.twoOPT {
			break
		}
		var h dnsmessage.ResourceHeader
		check(h.SetEDNS0(int(a.size), 0, true))
		h.TTL |= a.version << 16
		check(b.OPTResource(h, dnsmessage.OPTResource{}))
	}
	out, err := b.Finish()
	check(err)
	return out
}

func unpack(t testing.TB, b []byte) (m dnsmessage.Message) {
	t.Helper()
	if err := m.Unpack(b); err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	return m
}

// summary is an answer in a line: its code, its flags and its records.
func summary(m dnsmessage.Message) string {
	s := strings.TrimPrefix(m.RCode.String(), "RCode")
	for _, flag := range []struct {
		set  bool
		name string
	}{{m.Authoritative, "aa"}, {m.Truncated, "tc"}, {m.RecursionDesired, "rd"}, {m.RecursionAvailable, "ra"}} {
		if flag.set {
			s += " " + flag.name
		}
	}
	for _, section := range []struct {
		name      string
		resources []dnsmessage.Resource
	}{{"answer", m.Answers}, {"authority", m.Authorities}, {"additional", m.Additionals}} {
		for _, r := range section.resources {
			s += fmt.Sprintf("; %s %s %s", section.name, strings.ToLower(r.Header.Name.String()), strings.TrimPrefix(r.Header.Type.String(), "Type"))
		}
	}
	return s
}

// TestStrangers: strangers get the answers of a zone without names.
func TestStrangers(t *testing.T) {
	const negative = "NameError aa; authority k.example.com. SOA"
	long := strings.Repeat("a", 63)
	for name, test := range map[string]struct {
		asked
		want string
	}{
		"below":                   {asked{name: "www.k.example.com", kind: dnsmessage.TypeA}, negative},
		"far below":               {asked{name: "a.b.c.k.example.com", kind: dnsmessage.TypeTXT}, negative},
		"a resolver's own":        {asked{name: "_.k.example.com", kind: dnsmessage.TypeA}, negative},
		"the longest label":       {asked{name: long + ".k.example.com", kind: dnsmessage.TypeTXT}, negative},
		"any type":                {asked{name: "www.k.example.com", kind: dnsmessage.TypeALL}, negative},
		"recursion":               {asked{name: "www.k.example.com", kind: dnsmessage.TypeA, header: dnsmessage.Header{RecursionDesired: true}}, "NameError aa rd; authority k.example.com. SOA"},
		"EDNS":                    {asked{name: "www.k.example.com", kind: dnsmessage.TypeA, edns: true, size: 1232}, negative + "; additional . OPT"},
		"the zone's SOA":          {asked{name: "k.example.com", kind: dnsmessage.TypeSOA}, "Success aa; answer k.example.com. SOA"},
		"another case":            {asked{name: "K.eXample.COM", kind: dnsmessage.TypeSOA}, "Success aa; answer k.example.com. SOA"},
		"the zone's NS":           {asked{name: "k.example.com", kind: dnsmessage.TypeNS}, "Success aa; answer k.example.com. NS; answer k.example.com. NS"},
		"the zone's ANY":          {asked{name: "k.example.com", kind: dnsmessage.TypeALL}, "Success aa; answer k.example.com. SOA"},
		"the zone's A":            {asked{name: "k.example.com", kind: dnsmessage.TypeA}, "Success aa; authority k.example.com. SOA"},
		"the zone's DS":           {asked{name: "k.example.com", kind: 43}, "Success aa; authority k.example.com. SOA"},
		"the parent":              {asked{name: "example.com", kind: dnsmessage.TypeSOA}, "Refused"},
		"a sibling":               {asked{name: "ak.example.com", kind: dnsmessage.TypeSOA}, "Refused"},
		"a longer sibling":        {asked{name: "www.ak.example.com", kind: dnsmessage.TypeSOA}, "Refused"},
		"another zone":            {asked{name: "www.example.org", kind: dnsmessage.TypeA}, "Refused"},
		"a longer name":           {asked{name: "k.example.com.org", kind: dnsmessage.TypeA}, "Refused"},
		"the root":                {asked{name: "", kind: dnsmessage.TypeNS}, "Refused"},
		"another class":           {asked{name: "k.example.com", kind: dnsmessage.TypeSOA, class: dnsmessage.ClassCHAOS}, "Refused"},
		"any class":               {asked{name: "k.example.com", kind: dnsmessage.TypeSOA, class: dnsmessage.ClassANY}, "Refused"},
		"a transfer":              {asked{name: "k.example.com", kind: dnsmessage.TypeAXFR}, "Refused"},
		"a transfer of changes":   {asked{name: "k.example.com", kind: typeIXFR}, "Refused"},
		"an update":               {asked{name: "k.example.com", kind: dnsmessage.TypeSOA, header: dnsmessage.Header{OpCode: 5}}, "NotImplemented"},
		"no question":             {asked{noAsking: true}, "FormatError"},
		"two questions":           {asked{name: "k.example.com", kind: dnsmessage.TypeSOA, twice: true}, "FormatError"},
		"two OPT records":         {asked{name: "k.example.com", kind: dnsmessage.TypeSOA, edns: true, twoOPT: true}, "FormatError; additional . OPT"},
		"another version of EDNS": {asked{name: "k.example.com", kind: dnsmessage.TypeSOA, edns: true, version: 1}, "Success; additional . OPT"},
		"an answer":               {asked{name: "k.example.com", kind: dnsmessage.TypeSOA, header: dnsmessage.Header{Response: true}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newResponder(t, newResponders(netip.Addr{}))
			query := test.pack(t)
			for _, tcp := range []bool{false, true} {
				out := r.answer(&scratch{}, nil, query, tcp, start)
				if test.want == "" {
					if len(out) > 0 {
						t.Errorf("an answer: %x", out)
					}
					continue
				}
				m := unpack(t, out)
				header := m.ID == 0x1234 && m.Response && m.OpCode == test.header.OpCode
				if got := summary(m); got != test.want || !header {
					t.Errorf("%s %+v, want %s", got, m.Header, test.want)
				}
				for i, q := range m.Questions {
					if i > 0 || q.Name.String() != test.name+"." || q.Type != test.kind {
						t.Errorf("question %d: %s", i, q.GoString())
					}
				}
				for _, o := range m.Additionals {
					want := uint32(0x8000) // DO
					if test.version != 0 {
						want |= 1 << 24 // BADVERS
					}
					if o.Header.TTL != want || o.Header.Class != maxUDP {
						t.Errorf("the OPT record is %s", o.Header.GoString())
					}
				}
			}
		})
	}
}

// TestRecords: the records of the zone.
func TestRecords(t *testing.T) {
	r := newResponder(t, newResponders(netip.Addr{}))
	soa := func(kind dnsmessage.Type, name string) dnsmessage.Resource {
		m := unpack(t, r.answer(&scratch{}, nil, asked{name: name, kind: kind}.pack(t), false, start))
		return append(m.Answers, m.Authorities...)[0]
	}
	for _, test := range []struct {
		name string
		ttl  uint32
	}{{testZone, recordTTL}, {"www." + testZone, minimumTTL}} {
		got := soa(dnsmessage.TypeSOA, test.name)
		want := dnsmessage.SOAResource{
			NS: dnsmessage.MustNewName("ns1.example.com."), MBox: dnsmessage.MustNewName("hostmaster.k.example.com."),
			Serial: serial, Refresh: refresh, Retry: retry, Expire: expire, MinTTL: minimumTTL,
		}
		if *got.Body.(*dnsmessage.SOAResource) != want || got.Header.TTL != test.ttl {
			t.Errorf("%s: %s", test.name, got.GoString())
		}
	}
	if got := soa(dnsmessage.TypeNS, testZone).Body.GoString(); !strings.Contains(got, "ns1.example.com.") {
		t.Errorf("the first server is %s", got)
	}
}

// dialogue is an exchange of a client with a responder, by some way to ask.
type dialogue struct {
	exchange  carrier.Exchange
	initiator *exchange.Initiator
}

func newDialogue(t testing.TB, o *exchange.Operation, x carrier.Exchange) dialogue {
	t.Helper()
	i, err := exchange.NewInitiator(o, carrier.ClientOf(x), carrier.ServerOf(carrier.DNS, testZone), [exchange.NonceSize]byte{7})
	if err != nil {
		t.Fatal(err)
	}
	return dialogue{x, i}
}

// names returns the names of the queries for a message.
func names(m *carrier.Message) (all []string) {
	for i := range m.Labels() {
		all = append(all, string(m.AppendLabel(nil, i))+"."+testZone)
	}
	return all
}

func (d dialogue) request(t testing.TB) []string {
	return names(message(t, carrier.RequestConnection, d.exchange, d.initiator.Request()))
}

// response returns the names for the response to the text of a challenge.
func (d dialogue) response(t testing.TB, text string) []string {
	t.Helper()
	challenge, reason := carrier.ParseText(nil, []byte(text))
	if reason != carrier.Accepted {
		t.Fatalf("text %q: %s", text, reason)
	}
	answer, err := d.initiator.Answer(challenge)
	if err != nil {
		t.Fatal(err)
	}
	return names(message(t, carrier.Response, d.exchange, answer.Response))
}

// TestExchange: a request draws its challenge, also if it arrives again, in another
// case and for another type; a response is taken, and gets the answer of a stranger.
func TestExchange(t *testing.T) {
	for _, test := range []struct {
		algorithm exchange.Algorithm
		id        string
		queries   int
	}{
		{exchange.Unilateral, testID, 1}, {exchange.NATAware, testID, 1}, {exchange.Mutual, testID, 1},
		{exchange.NATAware, "ssh-alice-a-long", 2}, {exchange.Mutual, "ssh-alice-a-long", 2},
	} {
		t.Run(fmt.Sprintf("%d %s", test.algorithm, test.id), func(t *testing.T) {
			o := operation(t, test.algorithm, test.id)
			e := newResponders(carrier.ServerOf(carrier.DNS, testZone), o)
			r := newResponder(t, e)
			ask := func(name string, kind dnsmessage.Type) dnsmessage.Message {
				t.Helper()
				m := unpack(t, r.answer(&scratch{}, nil, asked{name: name, kind: kind}.pack(t), false, start))
				if got := m.Questions[0].Name.String(); got != name+"." {
					t.Errorf("the question is %s, want %s", got, name)
				}
				return m
			}
			negative := func(m dnsmessage.Message) {
				t.Helper()
				if got := summary(m); got != "NameError aa; authority k.example.com. SOA" {
					t.Errorf("got %s", got)
				}
			}
			d := newDialogue(t, o, 0x01234567890abc)
			request := d.request(t)
			if len(request) != test.queries {
				t.Fatalf("%d queries", len(request))
			}
			for _, name := range request[:len(request)-1] {
				negative(ask(name, dnsmessage.TypeTXT))
			}
			last := request[len(request)-1]
			if got := summary(ask(last, dnsmessage.TypeA)); got != "Success aa; authority k.example.com. SOA" {
				t.Errorf("for another type: %s", got)
			}
			m := ask(last, dnsmessage.TypeTXT)
			if got := summary(m); got != "Success aa; answer "+last+". TXT" || m.Answers[0].Header.TTL != 0 {
				t.Fatalf("got %s", got)
			}
			text := m.Answers[0].Body.(*dnsmessage.TXTResource).TXT
			for _, again := range request {
				for _, name := range []string{again, strings.ToUpper(again)} {
					m := ask(name, dnsmessage.TypeALL)
					if len(m.Answers) != 1 || m.Answers[0].Body.(*dnsmessage.TXTResource).TXT[0] != text[0] {
						t.Errorf("the request again: %s", summary(m))
					}
				}
			}
			for _, name := range append(d.response(t, text[0]), d.response(t, text[0])...) {
				negative(ask(name, dnsmessage.TypeTXT))
			}
			if e.proved() != 1 || e.proofs[0].Client() != carrier.ClientOf(d.exchange) {
				t.Errorf("the proofs are %+v", e.proofs)
			}
		})
	}
}

// TestOperationsDoNotShow: every query but a request for an operation gets the same
// bytes whether or not there are operations.
func TestOperationsDoNotShow(t *testing.T) {
	o, other := operation(t, exchange.NATAware, testID), operation(t, exchange.NATAware, "ssh-bobby-")
	with, without := newResponder(t, newResponders(carrier.ServerOf(carrier.DNS, testZone), o)), newResponder(t, newResponders(netip.Addr{}))
	d := newDialogue(t, o, 5)
	queries := [][]byte{{}, []byte("not a query"), bytes.Repeat([]byte{0xc0}, 64)}
	for _, name := range append(newDialogue(t, other, 6).request(t),
		"www."+testZone, testZone, "example.com", "a."+d.request(t)[0], d.request(t)[0][1:],
		names(message(t, carrier.Request4, 5, d.initiator.Request()))[0],
		names(message(t, carrier.Request6, 5, d.initiator.Request()))[0],
		names(message(t, carrier.Response, 5, make([]byte, 20)))[0],
		names(message(t, carrier.RequestConnection, 5, append(d.initiator.Request(), make([]byte, 20)...)))[0],
	) {
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeTXT, dnsmessage.TypeA, dnsmessage.TypeNS, dnsmessage.TypeALL} {
			queries = append(queries, asked{name: name, kind: kind}.pack(t), asked{name: name, kind: kind, edns: true}.pack(t))
		}
	}
	for _, q := range queries {
		a := with.answer(&scratch{}, nil, q, false, start)
		if b := without.answer(&scratch{}, nil, q, false, start); !bytes.Equal(a, b) {
			t.Errorf("%x: %x with operations, %x without", q, a, b)
		}
	}
}

// TestSizes: the sizes that the specification states, and the bit TC instead of an
// answer that is too long.
func TestSizes(t *testing.T) {
	o := operation(t, exchange.NATAware, testID)
	e := newResponders(carrier.ServerOf(carrier.DNS, testZone), o)
	r := newResponder(t, e)
	request := asked{name: newDialogue(t, o, 5).request(t)[0], kind: dnsmessage.TypeTXT, edns: true, size: 1232}.pack(t)
	if got := r.answer(&scratch{}, nil, request, false, start); len(request) != 99 || len(got) != 187 {
		t.Errorf("a request of %d bytes, a challenge of %d, want 99 and 187", len(request), len(got))
	}
	stranger := asked{name: strings.Replace(newDialogue(t, o, 5).request(t)[0], "a", "-", 1), kind: dnsmessage.TypeTXT, edns: true, size: 1232}.pack(t)
	got := r.answer(&scratch{}, nil, stranger, false, start)
	if len(stranger) != 99 || len(got) != 150 {
		t.Errorf("a query of %d bytes, NXDOMAIN of %d, want 99 and 150", len(stranger), len(got))
	}
	for _, name := range []string{testZone, "K.Example.Com"} {
		small := asked{name: name, kind: dnsmessage.TypeSOA}.pack(t)
		if m := unpack(t, r.answer(&scratch{}, nil, small, false, start)); m.Truncated {
			t.Errorf("the SOA record of %s is too long", name)
		}
	}
	r.amplification = 1
	m := unpack(t, r.answer(&scratch{}, nil, request, false, start))
	if got := summary(m); got != "Success aa tc; additional . OPT" {
		t.Errorf("got %s", got)
	}
	m = unpack(t, r.answer(&scratch{}, nil, request, true, start))
	if len(m.Answers) != 1 {
		t.Errorf("over TCP: %s", summary(m))
	}
	if r.outcomes[Truncated].Load() != 1 || r.outcomes[Challenge].Load() != 2 {
		t.Error("wrong counts")
	}
}

// TestCompressedQuestion: a question that points into the header is longer in an answer,
// and so gets none if it would exceed the bound.
func TestCompressedQuestion(t *testing.T) {
	r := newResponder(t, newResponders(netip.Addr{}))
	query := []byte("\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x02\x00\x10\x00\x01")
	if got := r.answer(&scratch{}, nil, query, false, start); len(got) != len(query)+1 {
		t.Errorf("an answer of %d bytes to %d", len(got), len(query))
	}
	r.amplification = 1
	if got := r.answer(&scratch{}, nil, query, false, start); len(got) > 0 {
		t.Errorf("an answer of %d bytes to %d", len(got), len(query))
	}
	if r.outcomes[Ignored].Load() != 1 || r.outcomes[Truncated].Load() > 0 {
		t.Error("wrong counts")
	}
}

// TestBudget: answers are limited in sum, those with a challenge apart, and parts count
// beyond the limit too.
func TestBudget(t *testing.T) {
	o := operation(t, exchange.NATAware, testID)
	e := newResponders(carrier.ServerOf(carrier.DNS, testZone), o)
	r := newResponder(t, e)
	stranger := asked{name: testZone, kind: dnsmessage.TypeSOA}.pack(t)
	answers := func(query []byte, n int, now time.Time) (count int) {
		for range n {
			answer := r.answer(&scratch{}, nil, query, false, now)
			if len(answer) > 0 && !unpack(t, answer).Truncated {
				count++
			}
		}
		return count
	}
	if got := answers(stranger, 3*DefaultAnswers, start); got != DefaultAnswers {
		t.Errorf("%d answers at once, want %d", got, DefaultAnswers)
	}
	if got := answers(stranger, 100, start.Add(10*time.Millisecond)); got != DefaultAnswers/100 {
		t.Errorf("%d answers a hundredth of a second later, want %d", got, DefaultAnswers/100)
	}
	d := newDialogue(t, o, 5)
	now := start.Add(10 * time.Millisecond)
	m := unpack(t, r.answer(&scratch{}, nil, asked{name: d.request(t)[0], kind: dnsmessage.TypeTXT}.pack(t), false, now))
	response := d.response(t, m.Answers[0].Body.(*dnsmessage.TXTResource).TXT[0])[0]
	got := r.answer(&scratch{}, nil, asked{name: response, kind: dnsmessage.TypeTXT}.pack(t), false, now)
	if len(got) > 0 && !unpack(t, got).Truncated || e.proved() != 1 {
		t.Errorf("a response got the answer %x, and %d proofs", got, e.proved())
	}
	request := asked{name: d.request(t)[0], kind: dnsmessage.TypeTXT}.pack(t)
	if got := answers(request, 2*DefaultAnswers, now); got != DefaultAnswers-1 {
		t.Errorf("%d challenges, want %d", got, DefaultAnswers-1)
	}
}

// TestSlips: during a flood of forged sources over UDP, an honest resolver gets the bit TC,
// no source gets many of these, none is longer than its query, and over TCP the resolver
// gets the answer.
func TestSlips(t *testing.T) {
	for _, edns := range []bool{false, true} {
		r := newResponder(t, newResponders(netip.Addr{}))
		query := asked{name: "www." + testZone, kind: dnsmessage.TypeA, edns: edns, size: maxUDP}.pack(t)
		refused := asked{name: "www.example.net", kind: dnsmessage.TypeA}.pack(t)
		s := &scratch{}
		slips := map[netip.Addr]int{}
		ask := func(from netip.Addr, query []byte, now time.Time) {
			s.source = from
			answer := r.answer(s, nil, query, false, now)
			if len(answer) == 0 || !unpack(t, answer).Truncated {
				return
			}
			if slips[from]++; len(answer) > len(query) {
				t.Fatalf("%d bytes of answer to %d bytes", len(answer), len(query))
			}
		}
		flood, honest, few := netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		now := start
		for i := range 20_000 { // a second
			now = now.Add(time.Second / 20_000)
			if flood = flood.Next(); i%2 == 0 {
				ask(few, query, now)
			} else if i%3 == 0 {
				ask(few, refused, now)
			}
			ask(few, query, now)
		}
		if n := slips[few]; n == 0 || n > 2*(sourceSlips+1) {
			t.Errorf("one source got the bit TC %d times", n)
		}
		if ask(honest, query, now); slips[honest] != 1 {
			t.Error("a resolver gets no bit TC")
		}
		answer := r.answer(s, nil, query, true, now)
		if len(answer) == 0 || unpack(t, answer).RCode != dnsmessage.RCodeNameError {
			t.Errorf("over TCP: %x", answer)
		}
		for range 20_000 {
			flood = flood.Next()
			ask(flood, query, now)
		}
		all := 0
		for _, n := range slips {
			all += n
		}
		if most := 2 * slipFactor * DefaultAnswers; all > most || all < slipFactor*DefaultAnswers {
			t.Errorf("%d answers with the bit TC, want %d to %d", all, slipFactor*DefaultAnswers, most)
		}
		if n := r.outcomes[Slipped].Load(); n != uint64(all) {
			t.Errorf("%d counted, %d sent", n, all)
		}
	}
}

// TestRefusalsAllocateNothing: a query that gets no answer.
func TestRefusalsAllocateNothing(t *testing.T) {
	r := newResponder(t, newResponders(netip.Addr{}))
	stranger := asked{name: "www." + testZone, kind: dnsmessage.TypeA, edns: true}.pack(t)
	for range DefaultAnswers + 2*sourceSlips { // and the bit TC
		r.answer(&scratch{}, nil, stranger, false, start)
	}
	label := names(message(t, carrier.RequestConnection, 5, make([]byte, 40)))[0]
	var memory scratch
	for name, query := range map[string][]byte{
		"stranger": stranger, "part": asked{name: label, kind: dnsmessage.TypeTXT}.pack(t),
		"garbage": bytes.Repeat([]byte{0xff}, 100), "empty": nil,
	} {
		if n := testing.AllocsPerRun(100, func() {
			if len(r.answer(&memory, nil, query, false, start)) > 0 {
				t.Fatal("an answer")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestZones(t *testing.T) {
	for name, test := range map[string]struct {
		zone Zone
		want string // "": valid
	}{
		"valid":         {Zone{Name: "K.Example.com", Servers: []string{"ns.example.com"}, Hostmaster: "admin.example.com"}, ""},
		"one label":     {Zone{Name: "k", Servers: []string{"ns"}}, ""},
		"empty":         {Zone{Servers: []string{"ns.example.com"}}, "zone: expected a name of 1 to 253 characters"},
		"final dot":     {Zone{Name: "k.example.com.", Servers: []string{"ns.example.com"}}, "zone: expected labels of letters"},
		"blank":         {Zone{Name: "k .example.com", Servers: []string{"ns.example.com"}}, "zone: expected labels of letters"},
		"long":          {Zone{Name: strings.Repeat("a.", 95) + "a", Servers: []string{"ns.example.com"}}, "zone: expected a name of at most 189 characters"},
		"no server":     {Zone{Name: "k.example.com"}, "expected the name of at least one"},
		"inner server":  {Zone{Name: "k.example.com", Servers: []string{"ns.K.example.com"}}, "outside of k.example.com"},
		"its own":       {Zone{Name: "k.example.com", Servers: []string{"k.example.com"}}, "outside of k.example.com"},
		"wrong server":  {Zone{Name: "k.example.com", Servers: []string{"-"}}, "server of the zone: expected labels"},
		"an address":    {Zone{Name: "k.example.com", Servers: []string{"ns.example.com", "192.0.2.1"}}, "server of the zone: expected a name, as NS records have, got the address 192.0.2.1"},
		"wrong mailbox": {Zone{Name: "k.example.com", Servers: []string{"ns.example.com"}, Hostmaster: "a@b"}, "hostmaster of the zone: expected labels"},
	} {
		_, err := NewDNS(DNSConfig{Zone: test.zone})
		if (err == nil) != (test.want == "") || !strings.Contains(fmt.Sprint(err), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if _, err := NewDNS(DNSConfig{Zone: Zone{Name: "k", Servers: []string{"ns"}}, Amplification: -1}); err == nil {
		t.Error("a negative amplification is no error")
	}
}

// TestPartsInAFlood: parts of strangers, which know no operation, do not displace a message
// whose parts arrive 15 ms apart, at 100,000 queries a second.
func TestPartsInAFlood(t *testing.T) {
	e := newResponders(carrier.ServerOf(carrier.DNS, testZone), long(t))
	r := newResponder(t, e)
	var memory scratch
	now := start
	ask := func(name string) (challenged bool) {
		now = now.Add(10 * time.Microsecond)
		before := r.outcomes[Challenge].Load()
		r.answer(&memory, nil, asked{name: name, kind: dnsmessage.TypeTXT}.pack(t), false, now)
		return r.outcomes[Challenge].Load() > before
	}
	for i := range 4 {
		names := newDialogue(t, long(t), carrier.Exchange(i+1)).request(t)
		if len(names) != 2 || ask(names[0]) {
			t.Fatalf("%d names", len(names))
		}
		for range 1500 {
			m := message(t, carrier.RequestConnection, carrier.Exchange(rand.Uint64())&carrier.MaxExchange, make([]byte, 41))
			ask(string(m.AppendLabel(nil, rand.IntN(2))) + "." + testZone)
		}
		if !ask(names[1]) {
			t.Error("no challenge")
		}
	}
}

// FuzzAnswer: whatever a query is, its answer is a DNS message with its ID, and over UDP
// within the bounds.
func FuzzAnswer(f *testing.F) {
	o := operation(f, exchange.NATAware, testID)
	for _, name := range append(newDialogue(f, o, 5).request(f), testZone, "www."+testZone, "example.org", strings.Repeat("a.", 120)+"a") {
		for _, edns := range []bool{false, true} {
			f.Add(asked{name: name, kind: dnsmessage.TypeTXT, edns: edns, size: 600}.pack(f), false)
			f.Add(asked{name: name, kind: dnsmessage.TypeSOA, edns: edns}.pack(f), true)
		}
	}
	f.Add([]byte("\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x02\x00\x10\x00\x01"), false) // the question points into the header
	r := newResponder(f, newResponders(carrier.ServerOf(carrier.DNS, testZone), o))
	now := start
	var memory scratch
	f.Fuzz(func(t *testing.T, query []byte, tcp bool) {
		now = now.Add(time.Second)
		out := r.answer(&memory, []byte("before"), query, tcp, now)
		if !bytes.HasPrefix(out, []byte("before")) {
			t.Fatalf("%q has lost what stood before it", out)
		}
		if out = out[6:]; len(out) == 0 {
			return
		}
		if m := unpack(t, out); !m.Response || !bytes.Equal(out[:2], query[:2]) {
			t.Errorf("%+v for %x", m, query)
		}
		if !tcp && (len(out) > DefaultAmplification*len(query) || len(out) > maxUDP) {
			t.Errorf("an answer of %d bytes to %d", len(out), len(query))
		}
	})
}
