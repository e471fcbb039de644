package looks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"sallyport/bench/scenario"
	"sallyport/bench/target"
)

// key is a family, a look (len(looks): the closed port) and a probe, by their indexes.
type key struct{ family, look, probe int }

// sample has the answers to the probes of a key in a phase.
type sample struct {
	sent, answered, labels, zeros int
	kinds                         []string
	times                         []time.Duration
}

// look sends all probes in random orders until the window is over, each at least once.
func (w *testbed) look(ctx context.Context) (all map[key]*sample, err error) {
	all = map[key]*sample{}
	for f := range families {
		for l := range len(looks) + 1 {
			for p := range probes {
				all[key{f, l, p}] = &sample{}
			}
		}
	}
	var keys []key
	for k := range all {
		keys = append(keys, k)
	}
	end := time.Now().Add(w.Window)
	err = pinned(func() error {
		for ctx.Err() == nil {
			if w.knockPort, err = w.drawKnockPort(); err != nil {
				return err
			}
			rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
			for _, k := range keys {
				if err := w.probe(k, all[k]); err != nil {
					return err
				}
			}
			if time.Now().After(end) {
				return nil
			}
		}
		return ctx.Err()
	})
	return all, err
}

func (w *testbed) probe(k key, s *sample) error {
	if w.source++; w.source >= 60000 {
		w.source = 20000
	}
	f, port := families[k.family], uint16(closedPort)
	if k.look < len(looks) {
		port = cmp.Or(looks[k.look].port, w.knockPort)
	}
	from := netip.AddrPortFrom(f.stranger, w.source)
	began, got, err := w.ask(probes[k.probe].make(from, netip.AddrPortFrom(f.server, port))...)
	if err != nil {
		return err
	}
	s.sent++
	for _, a := range got {
		if a.to != f.stranger || a.port != w.source {
			continue
		}
		s.answered++
		if a.label {
			s.labels++
		}
		if a.zero {
			s.zeros++
		}
		if !slices.Contains(s.kinds, a.bits) {
			s.kinds = append(s.kinds, a.bits)
			slices.Sort(s.kinds)
		}
		s.times = append(s.times, a.at.Sub(began))
	}
	return nil
}

// compare makes the results of all phases.
func compare(phases []map[key]*sample, stealth bool) (results []Result) {
	for f := range families {
		for l := range looks {
			if stealth && !looks[l].stealth {
				continue
			}
			for p := range probes {
				r := Result{Family: families[f].number, Look: looks[l].name, Probe: probes[p].name, Silent: looks[l].silent}
				if strings.HasPrefix(probes[p].name, "UDP") {
					r.SilentClosed = stealth
					r.Silent = r.Silent || looks[l].silentUDP || stealth
				}
				if probes[p].name == echo { // it has no port
					if l > 0 {
						continue
					}
					r.Look, r.Silent = "the host", false
				}
				for _, samples := range phases {
					s, closed := samples[key{f, l, p}], samples[key{f, len(looks), p}]
					before, closedBefore := phases[1][key{f, l, p}], phases[1][key{f, len(looks), p}]
					times, closedTimes := sorted(s.times), sorted(closed.times)
					r.Phases = append(r.Phases, Phase{
						Sent: s.sent, Answered: s.answered, Kinds: s.kinds, Closed: closed.kinds, Labels: s.labels, ClosedLabels: closed.labels,
						ZeroIDs: 2*s.zeros > s.answered, ClosedZeroIDs: 2*closed.zeros > closed.answered,
						Times: timesOf(times), ClosedTimes: timesOf(closedTimes),
						FromClosed: distance(times, closedTimes), FromBefore: distance(times, sorted(before.times)),
						ClosedFromBefore: distance(closedTimes, sorted(closedBefore.times)),
						Chance:           chance(len(times), min(len(closedTimes), len(before.times))),
					})
				}
				results = append(results, r)
			}
		}
	}
	return results
}

// knock sends a sequence as the client, and waits for the grant.
func (w *testbed) knock(server *target.Server, family int, nonce uint32) (shots []scenario.Shot, err error) {
	f := families[family]
	shots, err = scenario.Knocks(server.Profiles[0], time.Now(), nonce)
	if err != nil {
		return nil, err
	}
	for _, s := range shots {
		for _, p := range knockPackets(f.client, f.server, s) {
			if err := w.send(p); err != nil {
				return nil, err
			}
		}
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		opened, err := server.Opened()
		if _, ok := opened[f.client]; ok || err != nil {
			return shots, err
		}
	}
	return nil, fmt.Errorf("the knocks of %s have opened nothing", f.client)
}

func knockPackets(from, to netip.Addr, s scenario.Shot) [][]byte {
	a, b := netip.AddrPortFrom(from, 40000), netip.AddrPortFrom(to, s.Port)
	return [][]byte{whole(a, b, protocolUDP, datagram(a, b, s.Payload))}
}

// reaches checks whether the client reaches a program that the firewall hides. The port
// rejects others, so no time decides.
func (w *testbed) reaches(want bool) error {
	for _, f := range families {
		err := w.outside.Do(func() error {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: f.client.AsSlice()}}
			c, err := d.Dial("tcp", netip.AddrPortFrom(f.server, looks[1].port).String())
			if err == nil {
				err = c.Close()
			}
			return err
		})
		if want && err != nil || !want && !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("the client's connection over IPv%d, with a lease: %t: %w", f.number, want, errors.Join(errUnexpected, err))
		}
	}
	return nil
}

var errUnexpected = errors.New("got another outcome than expected")
