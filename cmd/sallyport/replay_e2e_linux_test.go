package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"regexp"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/cmd/internal/profile"
	"sallyport/sessions/client"
)

// eavesdropper has the sequences of a client, as the network carries them. Their
// timestamps are ahead of the server's clock, so that no start refuses them: only the
// record of used nonces does.
type eavesdropper struct {
	*network
	minute   time.Time
	captured [][]client.Packet
	base     uint32
}

// sequence returns the next sequence of the client that has a profile.
func (e *eavesdropper) sequence(of string) []client.Packet {
	e.t.Helper()
	p, err := profile.Load(e.path(of + ".toml"))
	if err != nil {
		e.t.Fatal(err)
	}
	e.base += 1000
	packets, err := client.Sequence(p, e.minute.Add(57*time.Second), e.base)
	if err != nil {
		e.t.Fatal(err)
	}
	return packets
}

func (e *eavesdropper) send(from *netns.Host, server string, packets []client.Packet) {
	e.t.Helper()
	if err := from.Do(func() error {
		socket, err := net.ListenPacket("udp4", ":0")
		if err != nil {
			return err
		}
		defer socket.Close()
		for _, p := range packets {
			to := &net.UDPAddr{IP: net.ParseIP(server), Port: int(p.Port)}
			if _, err := socket.WriteTo(p.Datagram, to); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		e.t.Fatal(err)
	}
}

// capture makes the client knock with a profile until it gets in. Only the sequence that
// let it in counts as captured: on a busy machine the server may lose an earlier one, which
// then opens the service once.
func (e *eavesdropper) capture(of string) {
	e.t.Helper()
	e.await("the end of earlier leases", func() bool { return !e.reaches(e.client, asClient+":5400") })
	e.await("the client with "+of, func() bool {
		e.fresh()
		packets := e.sequence(of)
		e.send(e.client, asClient, packets)
		time.Sleep(100 * time.Millisecond)
		if !e.reaches(e.client, asClient+":5400") {
			return false
		}
		e.captured = append(e.captured, packets)
		return true
	})
}

// fresh waits for a minute that is long enough for a step. The ports of each minute
// differ, so earlier sequences are worthless then.
func (e *eavesdropper) fresh() {
	const enough = 30 * time.Second
	now := time.Now()
	if now.Sub(now.Truncate(time.Minute)) > enough {
		now = now.Truncate(time.Minute).Add(time.Minute)
		time.Sleep(time.Until(now) + time.Second)
	}
	if now = now.Truncate(time.Minute); now != e.minute {
		e.minute, e.captured = now, nil
	}
}

// replay sends all that was captured from the stranger's address. The result is
// whether that opens the service.
func (e *eavesdropper) replay() bool {
	for _, packets := range e.captured {
		e.send(e.stranger, asStranger, packets)
	}
	return e.reaches(e.stranger, asStranger+":5400")
}

func TestReplaysOpenNothing(t *testing.T) { long(t); testReplays(t, "strict") }
func TestReplaysRelaxed(t *testing.T)     { long(t); testReplays(t, "relaxed") }

// testReplays captures knocks, and replays them after each thing that can happen to a
// secret, its client, the server and the record.
func testReplays(t *testing.T, durability string) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	n.echo("[::]:5400")
	n.configure(fmt.Sprintf("durability = %q\n"+pour+"open_max = \"1s\"\npolicy = \"reject\"\n", durability, "1s"), "all")
	n.serve()
	e := &eavesdropper{network: n, base: 1 << 28}
	daemon := func(args ...string) {
		t.Helper()
		n.run(nil, n.path("sallyportd"), append(args, "-c", n.path("gate/sallyportd.toml"))...)
	}
	crash := func() {
		t.Helper()
		n.server.Process.Kill()
		n.server.Wait()
		n.server = nil
		n.serve()
	}
	clients := func() []byte {
		t.Helper()
		text, err := os.ReadFile(n.path("gate/clients.txt"))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	restore := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(n.path("gate/clients.txt"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		daemon("reload")
	}
	id, rotations := n.identifier("all"), 0
	// The client gets another secret, and knocks with both.
	rotate := func() {
		t.Helper()
		rotations++
		name := fmt.Sprintf("rotated%d", rotations)
		daemon("client", "rotate", id, "--out", n.path(name+".toml"))
		e.capture(name)
		e.capture("all")
	}

	// The server has not received this sequence, so a replay opens the service.
	e.await("a sequence that the client did not send", func() bool {
		e.fresh()
		e.captured = append(e.captured, e.sequence("all"))
		return e.replay()
	})
	n.closes("pour")

	original := clients()
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"nothing", func() {}},
		{"a reload", func() { daemon("reload") }},
		{"a rotation", func() { rotate() }},
		{"a rotation that ends", func() { rotate(); daemon("client", "rotate", id, "--end") }},
		{"a rotation back", func() { rotate(); restore(original) }},
		{"a rotation back, after its end", func() { rotate(); daemon("client", "rotate", id, "--end"); restore(original) }},
		{"a rotation back by a line with both", func() {
			rotate()
			line := regexp.MustCompile(`(?m)^(\S+ )(\S+)( .*old=)(\S+)`)
			both := line.ReplaceAll(clients(), []byte("$1$4$3$2"))
			if bytes.Equal(both, clients()) {
				t.Fatalf("no line with both secrets")
			}
			restore(both)
		}},
		{"a revocation", func() { daemon("client", "revoke", id) }},
		{"a client that comes back", func() { daemon("client", "revoke", id); restore(original) }},
		{"a crash", crash},
		{"a crash during a rotation", func() { rotate(); crash(); restore(original); crash() }},
		{"an orderly stop", func() { n.stop(); n.serve() }},
		{"a new record", func() { n.stop(); daemon("state", "reset"); n.serve() }},
		{"an empty record", func() { n.stop(); daemon("state", "reset", "--empty"); n.serve() }},
	} {
		restore(original)
		e.capture("all")
		step.do()
		if e.replay() {
			t.Errorf("%s: what was captured opens again", step.name)
		}
	}
}
