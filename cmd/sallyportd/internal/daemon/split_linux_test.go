package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/bench/netns"
	"sallyport/sessions"
	"sallyport/sessions/client"
	"sallyport/sessions/clock"
	"sallyport/sessions/clock/clocktest"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/verify/wire"
)

// splitFleet are three gateways at which clients split their sequences.
type splitFleet struct {
	t        *testing.T
	ipv6     bool
	c        clock.Clock
	e        *etcdtest.Cluster
	gateways [3]*fleetServer
	profiles []client.Profile // of the gateways
	base     uint32
}

func newSplitFleet(t *testing.T, c clock.Clock, e *etcdtest.Cluster, ipv6 bool) *splitFleet {
	t.Helper()
	f := &splitFleet{t: t, ipv6: ipv6, c: c, e: e, base: 10}
	addHosts(t, f.host(1), f.host(2), f.host(3), f.host(splitClient), f.host(splitStranger))
	p := client.Profile{
		PortSecret: "the port secret", Ports: 3, Service: ":8080", Split: true,
		Identifier: wire.Identifier([]byte("com1")), Secret: []byte("secret of com1"),
	}
	for i := range f.gateways {
		f.join(i)
		p.Gateways = append(p.Gateways, client.Gateway{Name: fmt.Sprintf("gw%d", i+1), Server: f.gateways[i].address})
	}
	all, err := p.AtGateways(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.profiles = all
	return f
}

// The numbers of the hosts that send to the gateways, which have 1 to 3.
const splitClient, splitStranger = 9, 8

// host returns the address of a host by its number.
func (f *splitFleet) host(n int) string {
	if f.ipv6 {
		return fmt.Sprintf("2001:db8::%d", n)
	}
	return fmt.Sprintf("192.0.2.%d", n)
}

// join starts a gateway.
func (f *splitFleet) join(i int) {
	f.t.Helper()
	f.gateways[i] = join(f.t, f.c, f.host(i+1), f.e.Gateway(f.t).Endpoints(), "spread = \"all\"\ngateways = [\"gw1\", \"gw3\"]\nopen_for = \"1h\"\nopen_max = \"1h\"",
		fmt.Sprintf("name = \"gw%d\"\ntimeout = \"10s\"\nclient_keys = \"gateway\"\nsplit = true\ngateways = [\"gw1=%s\", \"gw2=%s\", \"gw3=%s\"]", i+1, f.host(1), f.host(2), f.host(3)))
}

// sequence returns a new sequence: knock i is for gateway i.
func (f *splitFleet) sequence() []client.Packet {
	f.t.Helper()
	f.base += 10
	packets, err := client.Sequence(f.profiles[0], f.c.Wall(), f.base)
	if err != nil {
		f.t.Fatal(err)
	}
	return packets
}

// send sends some knocks of a sequence to their gateways.
func (f *splitFleet) send(packets []client.Packet, which ...int) {
	f.t.Helper()
	for _, i := range which {
		f.gateways[i].sendFrom(f.host(splitClient), packets[i])
	}
}

// sum returns a counter of all gateways.
func (f *splitFleet) sum(name string) (n uint64) {
	for _, g := range f.gateways {
		n += g.server.Counters()[name]
	}
	return n
}

func (f *splitFleet) await(what string, holds func() bool) {
	f.t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			for _, g := range f.gateways {
				f.t.Logf("%s: %v", g.address, g.server.Counters())
			}
			f.t.Fatalf("%s: does not come", what)
		}
	}
}

// counted waits until the gateways have counted what they did for the sequences so far: each
// has two parts that wait for the third, and two gateways that follow the one that opens. A
// gateway counts after its work, so others can already see the work itself.
func (f *splitFleet) counted() {
	f.t.Helper()
	f.await("the counters of the sequences so far", func() bool {
		opened := f.sum("session_opened")
		return f.sum("split_completed") == opened && f.sum("split_published") == 2*opened && f.sum("grant_opened") == 2*opened
	})
}

// opens sends a sequence, and waits until it has opened: once, and then at each gateway.
func (f *splitFleet) opens(what string, send func([]client.Packet)) {
	f.t.Helper()
	f.counted()
	opened, shared := f.sum("session_opened"), f.sum("grant_opened")
	send(f.sequence())
	f.await(what, func() bool { return f.sum("grant_opened") == shared+2 })
	if n := f.sum("session_opened") - opened; n != 1 {
		f.t.Errorf("%s: %d gateways have granted", what, n)
	}
}

// TestSplit: a sequence whose knocks go to three gateways opens exactly once, at all of them.
// Nothing else opens: a part of the knocks, one knock at two gateways, knocks from two hosts,
// copies at other gateways, or a part that a user of etcd without secrets has changed. A
// knock that a gateway got before its restart counts, and a copy of it does not.
func TestSplit(t *testing.T) { testSplit(t, false) }

// TestSplitIPv6 is TestSplit over IPv6.
func TestSplitIPv6(t *testing.T) {
	t.Parallel()
	testSplit(t, true)
}

func testSplit(t *testing.T, ipv6 bool) {
	if !netns.Enter(t) {
		return
	}
	host := clocktest.NewHost()
	host.Step(time.Until(time.Now().Truncate(time.Minute).Add(20 * time.Second))) // far from another minute
	f := newSplitFleet(t, host.Clock(), etcdtest.Start(t, etcdtest.Options{}), ipv6)
	nonces := client.NonceFile{Path: filepath.Join(t.TempDir(), "nonces"), First: 1}
	knock := func(gateway int) (client.Result, error) {
		return client.Knock(t.Context(), client.Config{Profile: f.profiles[gateway], Nonces: nonces, Attempts: 1, Timeout: 30 * time.Second, Now: f.c.Wall})
	}
	if result, err := knock(0); err != nil || !result.Watched || f.sum("session_opened") != 1 {
		t.Errorf("the client: %+v, %v", result, err)
	}
	f.await("the lease at the other gateway", func() bool { return len(f.gateways[2].server.gate.Leases()) == 1 })
	if own := f.gateways[1].server.gate.Leases(); len(own) != 0 {
		t.Errorf("a gateway without the service has the leases %v", own)
	}
	f.base = 100 // beyond the nonces of the client
	whole := func(p []client.Packet) { f.send(p, 0, 1, 2) }
	f.opens("a split sequence", whole)

	opened := f.sum("session_opened")
	captured := f.sequence()
	whole(captured)
	f.await("the second one", func() bool { return f.sum("session_opened") == opened+1 })
	macs, replays := f.sum("mac"), f.sum("session_replay")+f.sum("below")
	for i, g := range f.gateways {
		g.sendFrom(f.host(splitStranger), captured...)
		f.await("the refusal of copies", func() bool {
			return f.sum("mac") == macs+uint64(2*(i+1)) && f.sum("session_replay")+f.sum("below") == replays+uint64(i+1)
		})
	}

	f.counted()
	published := f.sum("split_published")
	part := f.sequence()
	f.send(part, 0, 1)
	f.await("the parts", func() bool { return f.sum("split_published") == published+2 })
	// The client itself signs knock 0 for the second gateway, too.
	all := f.unsplit(1, part)
	f.gateways[1].sendFrom(f.host(splitClient), all[0])
	f.await("the second copy of a knock", func() bool { return f.sum("split_published") == published+3 })

	other := f.sum("session_other_source")
	two := f.sequence()
	f.send(two, 0, 1)
	f.await("the parts", func() bool { return f.sum("split_published") == published+5 })
	f.gateways[2].sendFrom(f.host(splitStranger), two[2])
	f.await("the refusal of a second host", func() bool { return f.sum("session_other_source") == other+1 })

	forged := f.sum("split_forged")
	last := f.sequence()
	f.send(last, 0)
	f.await("the part", func() bool { return f.sum("split_published") == published+6 })
	f.forge() // the first gateway has got knock 1 as well
	f.send(last, 2)
	f.await("the refusal of what is forged", func() bool { return f.sum("split_forged") == forged+1 && f.sum("split_published") == published+7 })
	if n := f.sum("session_opened"); n != opened+1 {
		t.Errorf("%d sequences have opened, want %d", n, opened+1)
	}

	published = f.gateways[0].server.Counters()["split_published"]
	before := f.sequence()
	f.send(before, 0)
	f.await("the part", func() bool { return f.gateways[0].server.Counters()["split_published"] == published+1 })
	f.gateways[0].stop()
	f.join(0)
	f.gateways[0].sendFrom(f.host(splitStranger), before[0])
	f.await("the refusal of a copy", func() bool { return f.gateways[0].count(sessions.BeforeStart) == 1 })
	opened = f.sum("session_opened")
	f.send(before, 1, 2)
	f.await("the sequence with a restart in its middle", func() bool { return f.sum("session_opened") == opened+1 })

	nonces.First, nonces.Path = 500, nonces.Path+"2"
	f.gateways[1].stop()
	opened = f.sum("session_opened")
	var offline *client.OfflineError
	if _, err := knock(2); !errors.As(err, &offline) || !strings.Contains(offline.Hint(), "gw2") {
		t.Errorf("with a gateway that is down: %v, %+v", err, offline)
	}
	if n := f.sum("session_opened"); n != opened {
		t.Errorf("%d sequences have opened while a gateway is down", n-opened)
	}
}

// unsplit returns the sequence with the base of another one, signed for one gateway.
func (f *splitFleet) unsplit(gateway int, like []client.Packet) []client.Packet {
	f.t.Helper()
	k, err := wire.Parse(like[0].Datagram)
	if err != nil {
		f.t.Fatal(err)
	}
	p := f.profiles[0]
	plain := client.Profile{
		PortSecret: p.PortSecret, Ports: p.Ports, Identifier: p.Identifier, Secret: []byte("secret of com1"),
		Gateways: []client.Gateway{{Name: fmt.Sprintf("gw%d", gateway+1), Server: f.gateways[gateway].address}},
	}
	all, err := plain.AtGateways(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	packets, err := client.Sequence(all[0], time.Unix(int64(k.Timestamp), 0), k.Nonce)
	if err != nil {
		f.t.Fatal(err)
	}
	return packets
}

// forge adds a knock to the newest part of the first gateway in etcd, as a user without
// secrets can.
func (f *splitFleet) forge() {
	f.t.Helper()
	c := f.gateways[0].server.fleet.Cluster()
	key := c.Key("slots/com1")
	got, err := c.Get(f.t.Context(), key)
	if err != nil || len(got.Kvs) != 1 {
		f.t.Fatal(err, got)
	}
	const name = "\x03gw1"
	value := got.Kvs[0].Value
	value[bytes.LastIndex(value, []byte(name))+len(name)] |= 1 << 1
	if _, err := c.Txn(f.t.Context(), nil, []clientv3.Op{clientv3.OpPut(key, string(value))}, nil); err != nil {
		f.t.Fatal(err)
	}
}
