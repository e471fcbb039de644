package real

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sallyport/bench/clock"
	"sallyport/bench/knocktime/line"
	"sallyport/bench/netns"
)

func TestFramesAreDeliveredInTheOrderOfTheirTimes(t *testing.T) {
	var f frames
	at := time.Unix(100, 0)
	for i, after := range []time.Duration{3, 1, 2, 1, 1} {
		heap.Push(&f, delivery{due: at.Add(after), order: uint64(i)})
	}
	var got []uint64
	for len(f) > 0 {
		got = append(got, heap.Pop(&f).(delivery).order)
	}
	if want := []uint64{1, 3, 4, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestParse(t *testing.T) {
	frame := func(protocol byte, from, to [4]byte, rest ...byte) []byte {
		f := append(make([]byte, ethernetBytes+ipBytes), rest...)
		f[ethernetBytes+ipProtocol] = protocol
		copy(f[ethernetBytes+ipSource:], from[:])
		copy(f[ethernetBytes+ipDestination:], to[:])
		return f
	}
	client, server := clientAddress(6).As4(), serverAddress(6).As4()
	tcp := make([]byte, 20)
	tcp[tcpFlags] = synAck
	for _, row := range []struct {
		name  string
		frame []byte
		up    bool
		want  packet
		ok    bool
	}{
		{"a knock", frame(17, client, server, make([]byte, 8)...), true, packet{lane: 6, knock: true}, true},
		{"a challenge", frame(17, server, client, make([]byte, 52)...), false, packet{lane: 6}, true},
		{"an answer", frame(6, server, client, tcp...), false, packet{lane: 6, answer: true}, true},
		{"a SYN", frame(6, client, server, tcp...), true, packet{lane: 6}, true},
		{"no lane", frame(17, client, [4]byte{198, 18, 1, 254}, make([]byte, 8)...), true, packet{lane: 253, knock: true}, false},
		{"too short", make([]byte, 41), true, packet{}, false},
	} {
		got, ok := parse(row.frame, row.up)
		if got != row.want || ok != row.ok {
			t.Errorf("%s: %+v, %v", row.name, got, ok)
		}
	}
}

// TestRelayIsTheModel: the packets of a lane arrive as the model has drawn them, in
// its order and with its losses and duplicates, while another lane has its own line.
func TestRelayIsTheModel(t *testing.T) {
	if !netns.Enter(t) {
		return
	}
	cores, err := clock.Cores()
	if err != nil {
		t.Fatal(err)
	}
	n, err := newNetwork(cores[0])
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	const packets, stream = 50, 4
	m := line.LongQueues
	m.Loss, m.Duplicates = 0.1, 0.1
	n.relay.begin(0, 0, line.Slow, m, stream)
	n.relay.begin(1, packets, line.Slow, line.Undisturbed, stream)
	for lane := range 2 {
		if lane == 1 {
			m = line.Undisturbed
		}
		want := drawn(m, packets, stream)
		if got := n.arrivals(t, lane, packets, len(want)); !slices.Equal(got, want) {
			t.Errorf("lane %d: %v arrived, by the model %v", lane, got, want)
		}
	}
	least := line.Slow.OneWay + packets*line.Slow.Transmission(line.KnockBytes)
	trace := n.relay.traced(1)
	if trace.arrived != packets || trace.last.Sub(trace.began) < least {
		t.Errorf("%+v", trace)
	}
	if err := n.relay.failure(); err != nil {
		t.Error(err)
	}
}

const (
	// The line is busy with large packets while a test sends its knocks, so that the
	// time of their sending does not matter.
	large      = 3
	largeBytes = 1400
)

// arrivals sends large packets, and then knocks, in a lane, and returns those that
// arrive, in their order, until there is an expected number and no other for a while.
// The source port of each is its number, so that a knock has no payload.
func (n *network) arrivals(t *testing.T, lane, knocks, expected int) (got []int) {
	t.Helper()
	var raw *net.IPConn
	if err := n.server.Do(func() (err error) {
		raw, err = net.ListenIP("ip4:udp", &net.IPAddr{IP: serverAddress(lane).AsSlice()})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	const first = 20000
	if err := n.client.Do(func() error {
		if err := clock.PinThread(0, 0); err != nil {
			return err
		}
		var sockets []*net.UDPConn
		for i := range large + knocks {
			c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(clientAddress(lane), first+uint16(i))))
			if err != nil {
				return err
			}
			defer c.Close()
			sockets = append(sockets, c)
		}
		var errs []error
		for i, c := range sockets {
			var payload []byte
			if i < large {
				payload = make([]byte, largeBytes-line.KnockBytes)
			}
			_, err := c.WriteToUDPAddrPort(payload, netip.AddrPortFrom(serverAddress(lane), 9))
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 64)
	for {
		end := netns.Deadline(t)
		if len(got) >= expected {
			end = time.Now().Add(100 * time.Millisecond)
		}
		raw.SetReadDeadline(end)
		if _, _, err := raw.ReadFromIP(buffer); err != nil {
			return got
		}
		got = append(got, int(binary.BigEndian.Uint16(buffer))-first)
	}
}

// drawn returns the order in which packets arrive by the model.
func drawn(m line.Model, knocks int, stream uint64) (order []int) {
	p := line.NewPath(line.Slow, m, seed, 2*stream)
	type arrival struct {
		at     time.Duration
		packet int
	}
	var all []arrival
	for i := range large + knocks {
		bytes := line.KnockBytes
		if i < large {
			bytes = largeBytes
		}
		_, arrivals := p.Send(nil, 0, bytes)
		for _, at := range arrivals {
			all = append(all, arrival{at, i})
		}
	}
	slices.SortStableFunc(all, func(a, b arrival) int { return int(a.at - b.at) })
	for _, a := range all {
		order = append(order, a.packet)
	}
	return order
}

func TestLaneAddresses(t *testing.T) {
	for _, lane := range []int{0, lanes - 1} {
		a := serverAddress(lane).As4()
		if got, ok := laneOf(a[3]); !ok || got != lane {
			t.Error(fmt.Sprint(lane, got, ok))
		}
	}
	if nearAddress == clientAddress(lanes-1) || farAddress == serverAddress(lanes-1) {
		t.Error("the relay has an address of a lane")
	}
}
