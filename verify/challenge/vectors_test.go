package challenge

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// encodingJSON is an Encoding as the vectors write it.
type encodingJSON struct {
	Scheme   string
	Base     uint16
	DataBits int `json:"data_bits"`
	Sequence int `json:"sequence_bits"`
	Restart  int
	Delay    int `json:"delay_ms"`
}

func (e encodingJSON) encoding() Encoding {
	var s Scheme
	s.UnmarshalText([]byte(e.Scheme)) // an unknown one is no scheme
	return Encoding{s, e.Base, e.DataBits, e.Sequence, e.Restart, time.Duration(e.Delay) * time.Millisecond}
}

type vectors struct {
	About    string
	Messages []struct {
		ID, Comment, Message string
		Encoding             encodingJSON
		Ports                []uint16
	}
	Arrivals []struct {
		ID, Comment, Result, Message string
		Encoding                     encodingJSON
		Bytes                        int
		Arrivals                     []struct {
			Port uint16
			At   int `json:"at_ms"`
		}
	}
	Encodings []struct {
		ID, Comment, Rule string
		Encoding          encodingJSON
		Bytes             int
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

// start is the arrival time of the first packet of a test.
var start = time.Unix(1_700_000_000, 0)

// codec returns the codec of an encoding, or fails the test.
func codec(t testing.TB, e Encoding, bytes int) *Codec {
	t.Helper()
	c, err := e.Codec(bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVectorsOfMessages(t *testing.T) {
	for _, v := range readVectors(t).Messages {
		t.Run(v.ID, func(t *testing.T) {
			message, err := hex.DecodeString(v.Message)
			if err != nil {
				t.Fatal(err)
			}
			c := codec(t, v.Encoding.encoding(), len(message))
			got, err := c.AppendPorts(nil, message)
			if err != nil || !slices.Equal(got, v.Ports) {
				t.Errorf("ports %v, %v, want %v", got, err, v.Ports)
			}
			var d Decoder
			d.Reset(c)
			now := start
			for i, p := range v.Ports {
				want := Incomplete
				if i == len(v.Ports)-1 {
					want = Complete
				}
				if got := d.Add(p, now); got != want {
					t.Fatalf("packet %d: %s", i, got)
				}
				now = now.Add(c.Delay())
			}
			if got := d.AppendMessage(nil); !bytes.Equal(got, message) {
				t.Errorf("message %x, want %x", got, message)
			}
		})
	}
}

func TestVectorsOfArrivals(t *testing.T) {
	for _, v := range readVectors(t).Arrivals {
		t.Run(v.ID, func(t *testing.T) {
			var d Decoder
			d.Reset(codec(t, v.Encoding.encoding(), v.Bytes))
			var got Verdict
			for _, a := range v.Arrivals {
				got = d.Add(a.Port, start.Add(time.Duration(a.At)*time.Millisecond))
			}
			if got.String() != v.Result {
				t.Fatalf("%s, want %s", got, v.Result)
			}
			if got != Complete {
				return
			}
			if got := hex.EncodeToString(d.AppendMessage(nil)); got != v.Message {
				t.Errorf("message %s, want %s", got, v.Message)
			}
		})
	}
}

// rules holds, for each rule of the vectors, a part of the error.
var rules = map[string]string{
	"scheme": "one of the schemes", "size": "expected a message of", "data": "1 to 16 data bits",
	"port bits": "the size of a port", "other's sequence bits": "only \"sequence\" has",
	"numbers": "the numbers of", "span": "up to 65535", "delay": "keeps the packets in order",
	"other's delay": "only \"delays\" has", "other's restart": "\"delays\" cannot have",
	"restart": "can overtake another",
}

func TestVectorsOfEncodings(t *testing.T) {
	broken := map[string]bool{}
	for _, v := range readVectors(t).Encodings {
		want, ok := rules[v.Rule]
		if _, err := v.Encoding.encoding().Codec(v.Bytes); !ok || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s, by the rule of %q: %v", v.ID, v.Rule, err)
		}
		broken[v.Rule] = true
	}
	if len(broken) != len(rules) {
		t.Errorf("%d rules are broken, of %d", len(broken), len(rules))
	}
}
