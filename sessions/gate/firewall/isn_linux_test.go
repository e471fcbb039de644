package firewall

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/sessions/gate/access"
	"sallyport/verify/wire"
)

// answersTo reports whether a port answers a segment with a SYN-ACK, and whether it
// does not answer at all.
func (w *network) answersTo(from netip.Addr, port uint16, flags byte, number uint32) (accepted, silent bool) {
	w.Helper()
	to := host4
	if from.Is6() {
		to = host6
	}
	w.source++
	silent = true
	for _, a := range w.probe(numbered(from, to, w.source, port, flags, number, nil)) {
		if h := transport(a); binary.BigEndian.Uint16(h[2:]) == w.source {
			silent = false
			accepted = accepted || h[13] == flagSYN|flagACK
		}
	}
	return accepted, silent
}

// TestISN: only a bare SYN from the address of a grant, with the number of this grant,
// gets in, also on kernels with fewer abilities. All other segments get what a stranger
// gets.
func TestISN(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	w.write("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", "1")
	w.echo(2000)
	w.echo(2001)
	for _, can := range []abilities{{labels: true, earlyReject: true}, {}} {
		w.testISN(can)
	}
}

func (w *network) testISN(can abilities) {
	t := w.T
	f, err := claim(withServices(Config{Ports: []Port{
		{Protocol: TCP, Port: 2000, RequireISN: true}, {Protocol: TCP, Port: 2001, RequireISN: true, Reject: true, Hook: HookInput},
	}}), tester, false, now, can)
	w.must(err)
	const number, other, unknown = 0x01020304, 0xfffffffe, 0x7fffffff
	for place := range 2 {
		w.must(f.do(
			numberedChange(place, client4, number, time.Hour), numberedChange(place, client4, other, time.Hour),
			numberedChange(place, client6, number, time.Hour)))
	}
	swapped := uint32(0x04030201)
	for _, row := range []struct {
		from   netip.Addr
		flags  byte
		number uint32
		in     bool
	}{
		{client4, flagSYN, number, true}, {client6, flagSYN, number, true},
		{client4, flagSYN, other, true}, {client4, flagSYN, number, true}, // again
		{client6, flagSYN, other, false}, // the number of another address
		{client4, flagSYN, unknown, false}, {client4, flagSYN, number + 1, false}, {client4, flagSYN, 0, false},
		{client4, flagSYN, swapped, false},
		{stranger4, flagSYN, number, false}, {stranger6, flagSYN, number, false},
		{client4, flagSYN | flagACK, number, false}, {client4, flagACK, number, false}, {client4, flagSYN | flagFIN, number, false},
		{client4, flagRST, number, false}, {client4, flagFIN | flagACK, number, false},
	} {
		if row.from == stranger6 {
			continue // its link has another address of the host
		}
		for place, port := range []uint16{2000, 2001} {
			accepted, silent := w.answersTo(row.from, port, row.flags, row.number)
			// A port that rejects answers no reset.
			answers := place == 1 && row.flags&flagRST == 0
			if accepted != row.in || !row.in && silent == answers {
				t.Errorf("port %d, %+v: accepted %v, silent %v", port, row, accepted, silent)
			}
		}
	}
	// Revoked: one number, and the other stays.
	w.must(f.do(numberedChange(0, client4, number, 0)))
	if in, silent := w.answersTo(client4, 2000, flagSYN, number); in || !silent {
		t.Error("a revoked number gets in, or is answered")
	}
	if in, _ := w.answersTo(client4, 2000, flagSYN, other); !in {
		t.Error("the number of another lease does not get in")
	}
	// A revocation without a number is of no element. Grants without one, or for a
	// network, open nothing; nor does a number where none is required.
	w.must(f.do(changeOf(0, access.PeerOf(client4, access.PrefixHost), 0)))
	if in, _ := w.answersTo(client4, 2000, flagSYN, other); !in {
		t.Error("a revocation without a number has revoked one")
	}
	before, err := f.granted()
	w.must(err)
	for _, c := range []access.Change{
		change(0, client4, time.Hour), change(0, client6, time.Hour), changeOf(0, access.Anyone4, time.Hour),
		changeOf(0, access.Peer{Prefix: access.Anyone4.Prefix, ISN: 7}, time.Hour),
	} {
		if f.do(c) == nil {
			t.Errorf("granted %+v", c)
		}
	}
	granted(t, f, before)
	w.must(f.Close())
	if in, silent := w.answersTo(client4, 2000, flagSYN, other); in || !silent {
		t.Error("a closed table lets a number in, or answers it")
	}
	plain := w.claim(Config{Ports: []Port{{Protocol: TCP, Port: 2000}}})
	if plain.do(numberedChange(0, client4, number, time.Hour)) == nil {
		t.Error("granted a number at a port that compares none")
	}
}

// TestOwnUserdata: appendToLast fits the version of the library. The message of each
// set with numbers has our user data, and no other; all other messages are the
// library's own. appendToLast fails if the batch does not end with a set.
func TestOwnUserdata(t *testing.T) {
	var sent []netlink.Message
	collect := func(request []netlink.Message) ([]netlink.Message, error) {
		sent = append(sent, request...)
		return nil, io.EOF // no replies
	}
	batch, err := nftables.New(nftables.WithTestDial(collect))
	if err != nil {
		t.Fatal(err)
	}
	all := newSets(Config{Ports: []Port{{Protocol: TCP, Port: 1, RequireISN: true}, {Protocol: TCP, Port: 2}}}).order
	for _, s := range all {
		if err := addSet(batch, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := batch.Flush(); err != nil {
		t.Fatal(err)
	}
	made := 0
	for _, m := range sent {
		if m.Header.Type != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWSET {
			continue
		}
		attributes, err := netlink.UnmarshalAttributes(m.Data[4:])
		if err != nil {
			t.Fatal(err)
		}
		o := object{}
		for _, a := range attributes {
			if o[a.Type] != nil {
				t.Errorf("two attributes %d of the set %s", a.Type, o.text(unix.NFTA_SET_NAME))
			}
			o[a.Type] = a.Data
		}
		made++
		name := o.text(unix.NFTA_SET_NAME)
		want := map[string][]byte{"tcp_1_isn4": isnUserdata(typeISN4), "tcp_1_isn6": isnUserdata(typeISN6)}[name]
		if want != nil && !bytes.Equal(o[unix.NFTA_SET_USERDATA], want) || want == nil && len(o[unix.NFTA_SET_USERDATA]) > 6 {
			t.Errorf("the set %s has the user data %x", name, o[unix.NFTA_SET_USERDATA])
		}
	}
	if made != len(all) {
		t.Errorf("%d of %d sets were made", made, len(all))
	}
	if !errors.Is(appendToLast(batch, nil), errLibrary) {
		t.Error("appended to an empty batch")
	}
	batch.AddTable(table)
	if !errors.Is(appendToLast(batch, nil), errLibrary) {
		t.Error("appended to a message that makes no set")
	}
}

func TestISNConfig(t *testing.T) {
	for name, p := range map[string]Port{
		"UDP": {Protocol: UDP, Port: 1, RequireISN: true}, "Cut": {Protocol: TCP, Port: 1, RequireISN: true, Cut: true},
	} {
		if (Config{Ports: []Port{p}}).Validate() == nil {
			t.Errorf("%s is valid", name)
		}
	}
}

// connectISN begins a connection from outside with a number, as a client does, and
// waits until the kernel has made it or given up.
func (w *network) connectISN(from netip.Addr, number wire.ISN) (conn net.Conn, err error) {
	w.Helper()
	to := host4
	if from.Is6() {
		to = host6
	}
	w.outside.Do(func() error {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Deadline: netns.Deadline(w)}
		d.Control = func(_, _ string, c syscall.RawConn) error {
			failed := c.Control(func(fd uintptr) {
				for _, o := range [][2]int{
					{unix.TCP_REPAIR, 1}, {unix.TCP_REPAIR_QUEUE, 2}, {unix.TCP_QUEUE_SEQ, int(int32(number))}, {unix.TCP_REPAIR, -1},
				} {
					if err == nil {
						err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, o[0], o[1])
					}
				}
			})
			w.must(failed)
			return err
		}
		conn, err = d.Dial("tcp", netip.AddrPortFrom(to, 2000).String())
		return nil
	})
	if conn != nil {
		w.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

// TestISNConnections: the kernel sends a lost SYN again with the same number; SYN
// cookies; a connection outlives its lease and the table, and one that another
// program's gap let in does not, although its address has a lease.
func TestISNConnections(t *testing.T) {
	t.Parallel()
	if !netns.EnterPrivileged(t) {
		return
	}
	w := newNetwork(t)
	w.write("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", "1")
	w.echo(2000)
	cfg := Config{Ports: []Port{{Protocol: TCP, Port: 2000, RequireISN: true}}}
	f := w.claim(cfg)
	// The first SYN of each family is lost behind our table, and the second one, too.
	w.nft(`table inet loss {
		counter lost {}
		chain input { type filter hook input priority 50; tcp dport 2000 tcp flags syn / syn,ack limit rate 2/hour burst 2 packets counter name lost drop; }
	}`)
	for i, from := range []netip.Addr{client4, client6} {
		number := wire.ISN(1<<31 + uint32(i))
		w.must(f.do(numberedChange(0, from, number, time.Hour)))
		c, err := w.connectISN(from, number)
		w.must(err)
		if !w.alive(c) {
			t.Errorf("from %s: the connection is dead", from)
		}
	}
	if lost := string(w.run(nil, "list", "counter", "inet", "loss", "lost")); !strings.Contains(lost, "packets 2 ") {
		t.Errorf("not two SYNs were lost: %s", lost)
	}
	w.nft("delete table inet loss")
	w.write("/proc/sys/net/ipv4/tcp_syncookies", "2")
	w.must(f.do(numberedChange(0, client4, 77, time.Hour)))
	cookie, err := w.connectISN(client4, 77)
	w.must(err)
	if !w.alive(cookie) {
		t.Error("with SYN cookies, the connection is dead")
	}
	// The lease ends, and the table is removed and made again.
	w.must(f.do(numberedChange(0, client4, 77, 0)))
	w.nft("delete table inet " + Name + "\n" + tracking)
	inGap := w.connect(client4, 2000)
	if inGap == nil {
		t.Fatal("the gap let nothing in")
	}
	r, err := f.Restore()
	w.must(err)
	w.must(r.Err)
	if r.Cut != 1 {
		t.Errorf("%d connections are cut, want 1", r.Cut)
	}
	if !w.alive(cookie) {
		t.Error("a connection did not outlive its lease and the table")
	}
	inGap.SetDeadline(time.Now().Add(200 * time.Millisecond))
	inGap.Write([]byte("?"))
	if _, err := inGap.Read(make([]byte, 1)); err == nil {
		t.Error("a connection of the gap continues, since its address has a lease")
	}
	if in, _ := w.answersTo(client4, 2000, flagSYN, 1<<31); !in {
		t.Error("the restored table lacks a number")
	}
	if in, _ := w.answersTo(client4, 2000, flagSYN, 77); in {
		t.Error("the restored table has the number of an ended lease")
	}
	// An element is extended, and ends by itself.
	w.must(f.do(numberedChange(0, client4, 78, time.Hour)))
	w.must(f.do(numberedChange(0, client4, 78, MinTime)))
	netns.Until(t, "the end of the number", func() bool {
		in, _ := w.answersTo(client4, 2000, flagSYN, 78)
		return !in
	})
}
