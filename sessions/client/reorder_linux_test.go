package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"sallyport/bench/netns"
	"sallyport/ingest/capture"
	"sallyport/sessions/handshakes"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// TestReorderingNetwork: through a network that changes the order of packets, sends
// them twice, and drops some, each exchange succeeds: at the first attempt where the
// scheme survives it, and otherwise later, with the number of attempts that were lost.
func TestReorderingNetwork(t *testing.T) {
	t.Parallel()
	if !netns.Enter(t) {
		return
	}
	const seed = 1
	var all []*reorderedExchange
	for _, enc := range reorderedEncodings() {
		modes := []string{swapped, shuffled, duplicated, late, lost, unheard, cutOff}
		if enc.request.Scheme == challenge.Delays {
			modes = []string{duplicated, lost}
		}
		if enc.shared {
			modes = []string{swapped, shuffled, duplicated, late}
		}
		for _, mode := range modes {
			for a := exchange.Unilateral; a <= exchange.Mutual; a++ {
				for _, v6 := range []bool{false, true} {
					e := &reorderedExchange{encoding: enc, mode: mode, v6: v6, number: len(all) + 1}
					if e.repeats() && (a != exchange.NATAware || testing.Short()) {
						continue // they wait between attempts
					}
					var err error
					e.operation, err = exchange.NewOperation(fmt.Sprintf("case-%05d", e.number), "the secret", a, false)
					if err != nil {
						t.Fatal(err)
					}
					e.random = mathrand.New(mathrand.NewPCG(seed, uint64(e.number)))
					all = append(all, e)
				}
			}
		}
	}
	byServer := map[netip.Addr]*reorderedExchange{}
	here, there := netns.End{Name: "server"}, netns.End{Name: "client"}
	for _, e := range all {
		byServer[netip.MustParseAddr(e.address(1))] = e
		prefix := map[bool]string{false: "/24", true: "/64"}[e.v6]
		here.Addresses = append(here.Addresses, e.address(1)+prefix)
		there.Addresses = append(there.Addresses, e.address(2)+prefix)
	}
	client := netns.NewHost(t)
	messages := &netns.Messages{
		Class: func(_ netip.Addr, to netip.AddrPort) (class, size int) {
			if e := byServer[to.Addr()]; e != nil {
				return e.size(to.Port())
			}
			return 0, 0
		},
		Release: func(m netns.Message) [][]byte { return byServer[m.Destination].release(m) },
	}
	netns.ConnectRelayed(t, here, client, there, func(frame []byte, send func([]byte)) { send(frame) }, messages.Relay)
	for _, enc := range reorderedEncodings() {
		serveReordered(t, enc, all)
	}
	var running sync.WaitGroup
	atOnce := make(chan struct{}, 8)
	for _, e := range all {
		running.Go(func() {
			if !e.repeats() { // those that repeat mostly wait
				atOnce <- struct{}{}
				defer func() { <-atOnce }()
			}
			e.run(t, client)
		})
	}
	running.Wait()
}

// serveReordered runs the server of an encoding.
func serveReordered(t *testing.T, enc reordered, all []*reorderedExchange) {
	t.Helper()
	byOperation := map[string]*reorderedExchange{}
	var list []*exchange.Operation
	for _, e := range all {
		if e.encoding.name == enc.name {
			byOperation[e.operation.ID()] = e
			list = append(list, e.operation)
		}
	}
	operations, err := exchange.NewOperations(list, challenge.Plan{
		Request: enc.request, Response: enc.response, Ports: enc.ports, Shared: enc.shared,
	})
	if err != nil {
		t.Fatalf("%s: %v", enc.name, err)
	}
	var captured *capture.Capture
	table, err := handshakes.New(handshakes.Config{
		Operations: operations, Slots: 4096, Random: rand.Reader,
		Answer: func(source, destination netip.AddrPort, payload []byte) error {
			for _, e := range all {
				if e.mode == unheard && e.address(2) == source.Addr().String() && e.drop() {
					return nil
				}
			}
			return captured.Answer(capture.Packet{Source: source, Destination: destination}, payload)
		},
		OnProof: func(p exchange.Proof, client netip.Addr) {
			e := byOperation[p.Operation().ID()]
			if client.String() != e.address(2) {
				t.Errorf("%s: granted to %s", e, client)
			}
			e.openService(t)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	captured, err = capture.Open(capture.Config{
		Settings: capture.Settings{First: enc.ports.First, Last: enc.ports.Last}, Sink: takeFunc(func(packets []capture.Packet) {
			for _, p := range packets {
				table.Receive(p.Source, p.Destination, time.Now())
			}
		}), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- captured.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

type takeFunc func([]capture.Packet)

func (f takeFunc) Take(p []capture.Packet) { f(p) }
