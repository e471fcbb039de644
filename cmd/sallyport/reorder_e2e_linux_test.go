package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"sallyport/bench/netns"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// A request of an operation with an ID of ten bytes has 8 bits in each packet, from
// requestBase on.
const (
	requestBase  = 20000
	responseBase = 30000
)

// requestSizes are the number of packets of a request of each algorithm.
func requestSizes(v6 bool) map[exchange.Algorithm]int {
	address := map[bool]int{false: 4, true: 16}[v6]
	return map[exchange.Algorithm]int{
		exchange.Unilateral: 10, exchange.NATAware: 10 + address, exchange.Mutual: 10 + exchange.NonceSize,
	}
}

// TestReorderedPackets: the programs, over a network that delivers the packets of each
// message in another order, behind NATs too; and over one that loses packets.
func TestReorderedPackets(t *testing.T) {
	if !enter(t) {
		return
	}
	n := newNetwork(t)
	far, lan := netns.NewHost(t), netns.NewHost(t)
	var algorithm atomic.Int32 // of the next exchange
	var lose atomic.Bool       // a packet of the next request
	random := rand.New(rand.NewPCG(1, 2))
	messages := &netns.Messages{
		Class: func(from netip.Addr, to netip.AddrPort) (class, size int) {
			switch port := to.Port(); {
			case port >= responseBase && port < responseBase+exchange.ResponseSize<<8:
				return 1, exchange.ResponseSize
			case port >= requestBase && port < responseBase:
				return 0, requestSizes(from.Is6())[exchange.Algorithm(algorithm.Load())]
			}
			return 0, 0
		},
		Release: func(m netns.Message) [][]byte {
			frames := slices.Clone(m.Frames)
			random.Shuffle(len(frames), func(i, j int) { frames[i], frames[j] = frames[j], frames[i] })
			// The client would send the packet last that now is not last.
			last := m.Frames[len(m.Frames)-1]
			if i := slices.IndexFunc(frames, func(f []byte) bool { return &f[0] == &last[0] }); i == len(frames)-1 {
				frames[0], frames[i] = frames[i], frames[0]
			}
			if m.Class == 0 && lose.Swap(false) {
				frames = frames[1:]
			}
			return frames
		},
	}
	const server4, server6 = "192.0.2.1", "2001:db8:2::1"
	netns.ConnectRelayed(t, netns.End{Name: "tofar", Addresses: []string{server4 + "/24", server6 + "/64"}}, far,
		netns.End{Name: "far", Addresses: []string{"192.0.2.2/24", "2001:db8:2::2/64"}},
		func(frame []byte, send func([]byte)) { send(frame) }, messages.Relay)
	if err := far.Do(func() error {
		_, err := netns.Join(netns.End{Name: "lan", Addresses: []string{"10.0.0.1/24"}}, lan,
			netns.End{Name: "wan", Addresses: []string{"10.0.0.2/24"}})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	n.run(lan, "ip", "route", "add", "default", "via", "10.0.0.1")
	n.run(far, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")

	// Each exchange has its own service, which is closed before.
	type row struct {
		algorithm exchange.Algorithm
		on        *netns.Host
		server    string
		nat       string
		lose      bool
	}
	var rows []row
	for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
		rows = append(rows, row{algorithm: a, on: far, server: server4}, row{algorithm: a, on: far, server: server6})
	}
	for _, nat := range []string{"masquerade", "masquerade fully-random"} {
		for _, a := range []exchange.Algorithm{exchange.NATAware, exchange.Mutual} {
			rows = append(rows, row{algorithm: a, on: lan, server: server4, nat: nat})
		}
	}
	rows = append(rows, row{algorithm: exchange.NATAware, on: far, server: server4, lose: true})
	id := func(i int) string { return fmt.Sprintf("shuffle-%02d", i) }
	config := ""
	operations := ""
	for i, r := range rows {
		config += fmt.Sprintf("[[service]]\nname = \"web%d\"\ntype = \"web\"\nlisten = \":%d\"\nopen_for = \"60s\"\n", i, 8100+i)
		operations += n.operation(id(i), fmt.Sprintf("service = \"web%d\"\nalgorithm = %d", i, r.algorithm))
	}
	n.configure(fmt.Sprintf(`%s[challenge]
ports = "%d-%d"
[challenge.request]
scheme = "%s"
base = %d
data_bits = 8
[challenge.response]
scheme = "%s"
base = %d
data_bits = 8
%s`, config, requestBase, 40000, challenge.Ranges, requestBase, challenge.Ranges, responseBase, operations))
	for i, r := range rows {
		n.run(nil, n.path("sallyportd"), "operation", "profile", id(i), "-c", n.path("gate/sallyportd.toml"),
			"--server", r.server, "--out", n.path(id(i)+".toml"))
	}
	n.serve()
	for i, r := range rows {
		t.Run(fmt.Sprintf("algorithm %d at %s %s lose=%v", r.algorithm, r.server, r.nat, r.lose), func(t *testing.T) {
			if r.nat != "" {
				n.run(far, "sh", "-c", "nft flush ruleset; nft 'table ip nat { chain post { type nat hook postrouting priority 100; "+
					"ip saddr 10.0.0.0/24 oifname far "+r.nat+"; }; }'")
			}
			algorithm.Store(int32(r.algorithm))
			lose.Store(r.lose)
			args := []string{"--attempts", "1", "--timeout", "20s"}
			if r.lose {
				args = []string{"--attempts", "20", "--timeout", "2s"}
			}
			out, err := n.try(r.on, n.path("sallyport"), append([]string{"knock", n.path(id(i) + ".toml"), "--json"}, args...)...)
			var result struct {
				Opened       bool `json:"opened"`
				OpenBefore   bool `json:"open_before"`
				Attempts     int  `json:"attempts"`
				LostRequests int  `json:"lost_requests"`
			}
			if err != nil || json.Unmarshal([]byte(out), &result) != nil || !result.Opened || result.OpenBefore {
				t.Fatalf("%v, %s\n%s", err, out, n.log())
			}
			if r.lose != (result.LostRequests > 0) || r.lose != (result.Attempts > 1) {
				t.Errorf("printed %s", out)
			}
		})
	}
	// The output for people: the service is open already.
	last := len(rows) - 1
	lose.Store(true)
	out, err := n.knockBy(far, id(last), "--attempts", "20", "--timeout", "2s")
	if err != nil || !strings.Contains(out, "packets were lost on the way: ") || !strings.Contains(out, "received no challenge") {
		t.Errorf("%v, %s", err, out)
	}
}
