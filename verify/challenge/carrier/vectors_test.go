package carrier

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/verify/challenge/exchange"
)

type vectors struct {
	About    string
	Messages []struct {
		ID, Comment, Kind, Message string
		Exchange                   Exchange
		Labels, Paths              []string
		Path, Form                 string
	}
	Challenges []struct{ ID, Comment, Challenge, Text, Page string }
	Refused    []struct{ ID, Comment, Form, Input, Result string }
	Assemblies []struct {
		ID, Comment, Message string
		Arrivals             []struct {
			Form, Input, From string
			At                int `json:"at_ms"`
			Complete          bool
		}
	}
	Exchanges []struct {
		ID, Operation, Secret, Carrier, Name string
		Algorithm                            exchange.Algorithm
		Exchange                             Exchange
		Client, Server                       netip.Addr
		NonceA                               string   `json:"nonce_a"`
		NonceB                               string   `json:"nonce_b"`
		RequestLabels                        []string `json:"request_labels"`
		RequestPath                          string   `json:"request_path"`
		Text                                 string
		ResponseLabels                       []string `json:"response_labels"`
		ResponsePath                         string   `json:"response_path"`
	}
}

func readVectors(t testing.TB) (v vectors) {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// parse parses an input of a vector.
func parse(m *Message, form, input string) Reason {
	switch form {
	case "label":
		return m.ParseLabel([]byte(input))
	case "path":
		return m.ParsePath(input)
	case "form":
		return m.ParseForm([]byte(input))
	case "text":
		_, reason := ParseText(nil, []byte(input))
		return reason
	}
	_, reason := ParsePage(nil, []byte(input))
	return reason
}

func TestVectorsOfMessages(t *testing.T) {
	for _, v := range readVectors(t).Messages {
		t.Run(v.ID, func(t *testing.T) {
			message := unhex(t, v.Message)
			kind := Kind(0)
			for kind.String() != v.Kind {
				kind++
			}
			m, err := New(kind, v.Exchange, message)
			if err != nil {
				t.Fatal(err)
			}
			check := func(form, want string, got []byte) {
				t.Helper()
				var parsed Message
				if string(got) != want {
					t.Errorf("%s %s, want %s", form, got, want)
				} else if reason := parse(&parsed, form, want); reason != Accepted {
					t.Errorf("%s: %s", want, reason)
				} else if parsed.Complete() && !bytes.Equal(parsed.Bytes(), message) {
					t.Errorf("%s: %x, want %x", want, parsed.Bytes(), message)
				} else if parsed.Kind != kind || parsed.Exchange != v.Exchange || !m.Merge(&parsed) {
					t.Errorf("%s is of another message", want)
				}
			}
			if m.Labels() != len(v.Labels) || m.Numbers() != len(v.Paths) {
				t.Fatalf("%d labels, %d numbers, want %d, %d", m.Labels(), m.Numbers(), len(v.Labels), len(v.Paths))
			}
			for i, want := range v.Labels {
				check("label", want, m.AppendLabel(nil, i))
			}
			for i, want := range v.Paths {
				check("path", want, m.AppendPath(nil, i, i+1))
			}
			check("path", v.Path, m.AppendPath(nil, 0, m.Numbers()))
			check("form", v.Form, m.AppendForm(nil))
		})
	}
}

func TestVectorsOfChallenges(t *testing.T) {
	for _, v := range readVectors(t).Challenges {
		t.Run(v.ID, func(t *testing.T) {
			challenge := unhex(t, v.Challenge)
			if got := AppendText(nil, challenge); string(got) != v.Text {
				t.Errorf("text %s, want %s", got, v.Text)
			}
			if got := AppendPage(nil, challenge); string(got) != v.Page {
				t.Errorf("page %s, want %s", got, v.Page)
			}
			if got, reason := ParseText([]byte("a"), []byte(v.Text)); string(got) != "a"+string(challenge) {
				t.Errorf("%x, %s", got, reason)
			}
			if got, reason := ParsePage([]byte("a"), []byte(v.Page)); string(got) != "a"+string(challenge) {
				t.Errorf("%x, %s", got, reason)
			}
		})
	}
}

func TestVectorsOfRefused(t *testing.T) {
	for _, v := range readVectors(t).Refused {
		t.Run(v.Form+"/"+v.ID, func(t *testing.T) {
			before, err := New(Response, 5, []byte("before"))
			if err != nil {
				t.Fatal(err)
			}
			m := before
			if got := parse(&m, v.Form, v.Input); got.String() != v.Result {
				t.Errorf("%s, want %s", got, v.Result)
			}
			if m != before {
				t.Errorf("the message changed to %+v", m)
			}
		})
	}
}

func TestVectorsOfAssemblies(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	for _, v := range readVectors(t).Assemblies {
		t.Run(v.ID, func(t *testing.T) {
			a := NewAssembler(1)
			for i, part := range v.Arrivals {
				var m Message
				if reason := parse(&m, part.Form, part.Input); reason != Accepted {
					t.Fatalf("arrival %d: %s", i, reason)
				}
				var from netip.Addr
				if part.From != "" {
					from = netip.MustParseAddr(part.From)
				}
				got := a.Add(&m, from, start.Add(time.Duration(part.At)*time.Millisecond))
				if got != part.Complete {
					t.Fatalf("arrival %d: complete is %t", i, got)
				}
				if got && !bytes.Equal(m.Bytes(), unhex(t, v.Message)) {
					t.Errorf("arrival %d: %x", i, m.Bytes())
				}
			}
		})
	}
}

// join returns the message of labels, or of a path.
func join(t *testing.T, labels []string, path string) *Message {
	t.Helper()
	a := NewAssembler(1)
	var m, whole Message
	for i, label := range labels {
		if reason := m.ParseLabel([]byte(strings.ToUpper(label))); reason != Accepted {
			t.Fatal(reason)
		}
		if got := a.Add(&m, netip.Addr{}, time.Unix(0, 0)); got != (i == len(labels)-1) {
			t.Fatalf("label %d: complete is %t", i, got)
		}
	}
	if reason := whole.ParsePath(path); reason != Accepted || m != whole {
		t.Fatalf("path: %s, %+v, and %+v by labels", reason, whole, m)
	}
	return &m
}

func TestVectorsOfExchanges(t *testing.T) {
	for _, v := range readVectors(t).Exchanges {
		t.Run(v.ID, func(t *testing.T) {
			client, server := ClientOf(v.Exchange), ServerOf(v.Carrier, v.Name)
			if client != v.Client || server != v.Server {
				t.Errorf("addresses %s and %s, want %s and %s", client, server, v.Client, v.Server)
			}
			o, err := exchange.NewOperation(v.Operation, v.Secret, v.Algorithm, false)
			if err != nil {
				t.Fatal(err)
			}
			var nonceB [exchange.NonceSize]byte
			copy(nonceB[:], unhex(t, v.NonceB))
			i, err := exchange.NewInitiator(o, client, server, nonceB)
			if err != nil {
				t.Fatal(err)
			}
			m := join(t, v.RequestLabels, v.RequestPath)
			if m.Kind != RequestConnection || m.Exchange != v.Exchange || !bytes.Equal(m.Bytes(), i.Request()) {
				t.Errorf("request %s %d %x, want %x", m.Kind, m.Exchange, m.Bytes(), i.Request())
			}
			r, err := exchange.ParseRequest(o, true, m.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			challenge, pending, err := r.Challenge(nil, client, server, [exchange.NonceSize]byte(unhex(t, v.NonceA)), 0)
			if got := AppendText(nil, challenge); err != nil || string(got) != v.Text {
				t.Errorf("challenge %s, %v, want %s", got, err, v.Text)
			}
			answer, err := i.Answer(challenge)
			if err != nil {
				t.Fatal(err)
			}
			m = join(t, v.ResponseLabels, v.ResponsePath)
			if m.Kind != Response || m.Exchange != v.Exchange || !bytes.Equal(m.Bytes(), answer.Response) {
				t.Errorf("response %s %d %x, want %x", m.Kind, m.Exchange, m.Bytes(), answer.Response)
			}
			if p, ok := pending.Verify(m.Bytes()); !ok || p.Client() != client {
				t.Errorf("the proof is %t, for %s", ok, p.Client())
			}
		})
	}
}
