package carriers

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"sallyport/verify/challenge/carrier"
)

// TestResponseLosesAPart: the resolver loses one part of a response, and answers the others
// as it should. The response is not there, so it goes another way, too.
func TestResponseLosesAPart(t *testing.T) {
	t.Parallel()
	m, err := carrier.New(carrier.Response, 5, bytes.Repeat([]byte{7}, 69)) // as of a security key
	if err != nil || m.Labels() < 2 {
		t.Fatalf("%d parts, %v", m.Labels(), err)
	}
	for lost := range m.Labels() {
		var mu sync.Mutex
		arrived := map[string]bool{}
		server := zoneServer(t, func(q *dnsmessage.Message) {
			mu.Lock()
			defer mu.Unlock()
			name, _, _ := strings.Cut(q.Questions[0].Name.String(), ".")
			arrived[name] = true
			q.Header.RCode = dnsmessage.RCodeNameError
		}, nil)
		label := string(m.AppendLabel(nil, lost))
		d, err := NewDNS(DNSConfig{Zone: "k.example.org", Servers: []string{server}, Pause: soon, Resolver: &net.Resolver{
			PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return losing(label), nil },
		}})
		if err != nil {
			t.Fatal(err)
		}
		d.Respond(t.Context(), &m)
		mu.Lock()
		if !arrived[label] {
			t.Errorf("part %d is lost; the server has %v", lost, arrived)
		}
		mu.Unlock()
	}
}

// losing is a connection to a resolver that knows no name, and drops the queries for one.
func losing(label string) net.Conn {
	there, here := net.Pipe()
	go func() {
		defer there.Close()
		var size [2]byte
		if _, err := io.ReadFull(there, size[:]); err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(there, b); err != nil {
			return
		}
		var q dnsmessage.Message
		if q.Unpack(b) != nil || strings.HasPrefix(q.Questions[0].Name.String(), label+".") {
			return
		}
		q.Header.Response, q.Header.RecursionAvailable, q.Header.RCode, q.Additionals = true, true, dnsmessage.RCodeNameError, nil
		if out, err := q.Pack(); err == nil {
			there.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
		}
	}()
	return here
}
