package profile

import (
	"errors"
	"strings"
	"testing"

	"sallyport/sessions/client/profilefile"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// TestTransport: a profile of an operation over TCP has the port of challenges.
func TestTransport(t *testing.T) {
	o := profilefile.Operation{
		Server: "gate.example", ID: "web-alice", Secret: "a secret", Algorithm: exchange.NATAware, Service: ":8080", AnswerPort: 30720,
		Request:  challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 8},
		Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 25600, DataBits: 8},
	}
	text, err := profilefile.FormatOperation(o)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := parseBoth(t, text); err != nil || p.Challenge.AnswerPort != 30720 {
		t.Errorf("%+v, %v, of\n%s", p, err, text)
	}
	overlap, err := parseBoth(t, []byte(strings.Replace(string(text), "base = 25600", "base = 16384", 1)))
	var hinted interface{ Hint() string }
	if err == nil || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "shared_ports and hop must be those of the server") {
		t.Errorf("requests and responses have the same ports: %+v, %v", overlap, err)
	}
	o.AnswerPort = 0
	udp, err := profilefile.FormatOperation(o)
	if err != nil || strings.Contains(string(udp), "transport") || strings.Contains(string(udp), "answer_port") {
		t.Errorf("UDP: %v\n%s", err, udp)
	}
	for old, next := range map[string]string{
		"transport = 'tcp'":   "transport = 'sctp'",
		"transport = 'tcp'\n": "",
		"answer_port = 30720": "answer_port = 0",
		"= 30720":             "= 65536",
		"answer_port":         "# answer_port",
	} {
		_, err := parseBoth(t, []byte(strings.Replace(string(text), old, next, 1)))
		if err == nil || !strings.Contains(err.Error(), "challenge.") {
			t.Errorf("%q in place of %q: %v", next, old, err)
		}
	}
	p, err := parseBoth(t, []byte(strings.Replace(string(udp), "algorithm", "transport = 'udp'\nalgorithm", 1)))
	if err != nil || p.Challenge.AnswerPort != 0 {
		t.Errorf("transport = 'udp': %+v, %v", p, err)
	}
}
