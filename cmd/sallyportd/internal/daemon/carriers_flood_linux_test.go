package daemon

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"sallyport/bench/netns"
	"sallyport/verify/challenge/carrier"
)

// requestQuery returns the query for the only part of a request.
func (d *dialogue) requestQuery() []byte {
	d.t.Helper()
	m := d.message(d.kind, d.initiator.Request())
	if m.Labels() != 1 {
		d.t.Fatalf("a request of %d parts", m.Labels())
	}
	name, err := dnsmessage.NewName(string(m.AppendLabel(nil, 0)) + "." + zoneName + ".")
	if err != nil {
		d.t.Fatal(err)
	}
	query := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET}}}
	packed, err := query.Pack()
	if err != nil {
		d.t.Fatal(err)
	}
	return packed
}

// TestFloodOverDNS: an attacker who knows the ID of one operation, and draws more challenges
// than the server may send over DNS, new ones or one again and again, keeps out no client of
// another operation, over UDP or TCP.
func TestFloodOverDNS(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	w := newCarrierWorld(t, "answers_per_second = 20\n"+carriedOperation(carriedID, "")+carriedOperation("random-web", "port = \"random\""), "")
	dial := func(network, from string) net.Conn {
		var local net.Addr = &net.UDPAddr{IP: net.ParseIP(from)}
		if network == "tcp" {
			local = &net.TCPAddr{IP: net.ParseIP(from)}
		}
		c, err := (&net.Dialer{LocalAddr: local}).Dial(network, "127.0.0.1:53")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(netns.Deadline(t))
		return c
	}
	overTCP := func(query []byte, from string) []byte {
		c := dial("tcp", from)
		defer c.Close()
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...))
		answer, _ := io.ReadAll(io.LimitReader(c, 2))
		if len(answer) < 2 {
			return nil
		}
		answer = make([]byte, binary.BigEndian.Uint16(answer))
		io.ReadFull(c, answer)
		return answer
	}
	check := func(network string, answer []byte) {
		var m dnsmessage.Message
		if err := m.Unpack(answer); err != nil || len(m.Answers) != 1 {
			t.Errorf("over %s another operation got no challenge: %+v, %v; %v", network, m.Header, err, w.server.Counters())
		}
	}
	attacker := dial("udp", "127.0.0.2")
	repeated := newDialogue(t, carriedID, netip.Addr{}, toZone).requestQuery()
	for range 50 {
		attacker.Write(repeated)
		attacker.Write(newDialogue(t, carriedID, netip.Addr{}, toZone).requestQuery())
		overTCP(repeated, "127.0.0.2")
	}
	honest := newDialogue(t, "random-web", netip.Addr{}, toZone).requestQuery()
	c, answer := dial("udp", "127.0.0.3"), make([]byte, carrier.MaxChallenge+1024)
	c.Write(honest)
	n, err := c.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	check("udp", answer[:n])
	check("tcp", overTCP(honest, "127.0.0.3"))
}
