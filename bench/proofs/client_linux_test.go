package proofs

import (
	"net"
	"testing"

	"sallyport/sessions/client"
	"sallyport/verify/preamble"
	"sallyport/verify/verifytest"
)

// TestRefusedProof: a server that resets a connection is an error of the connection, as for
// a client whose lease is not in force yet.
func TestRefusedProof(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 1)) // before that, the connection itself could fail
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
	}()
	k := &knocker{profile: client.Profile{Identifier: verifytest.ID("com1")}, mac: preamble.SecretMAC([]byte("secret"))}
	for _, proves := range []bool{false, true} {
		if err := k.short(service{"ssh", l.Addr().String(), proves}); err == nil {
			t.Errorf("proves %t: no error", proves)
		}
	}
	if k.next != 1 {
		t.Errorf("the next nonce is %d, want 1", k.next)
	}
}
