package looks

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"sallyport/verify/schedule"
)

const (
	// burst is how many ICMP errors the kernel sends at once, and refill the time in which it
	// may send as many again: icmp_msgs_burst and icmp_msgs_per_sec, with their defaults.
	burst  = 50
	refill = 52 * time.Millisecond
	// forgedProbes are those of a test. The kernel counts each error as none, one or two, by
	// chance: so many use up a burst nearly always.
	forgedProbes = 60
	// answersPort is closed, and answers with stealth, too.
	answersPort = 9
	// rounds is how often a scan probes a port that does not answer.
	rounds = 3
	// addresses is how many a scanner forges.
	addresses = 60_000
)

// groups are the numbers of ports of a test, and stealthGroups those with stealth.
var (
	groups        = []int{1, 2, 3, 50}
	stealthGroups = []int{2}
)

// scans scans for the live knock port, with the kernel's limits of ICMP errors.
func (w *testbed) scans(ctx context.Context, kernel rates, groups []int) (results []Result, err error) {
	if err := kernel.set(); err != nil {
		return nil, err
	}
	w.step("scans")
	for f := range families {
		s := &Scan{Sources: scanners}
		if err := pinned(func() error { return w.scanFor(ctx, f, s) }); err != nil {
			return nil, err
		}
		results = append(results, Result{Family: families[f].number, Probe: "scan", Scan: s})
	}
	w.step("scans off the path")
	for f := range families {
		for _, n := range groups {
			o := &OffPath{Group: n}
			if err := pinned(func() error { return w.offPath(ctx, f, o) }); err != nil {
				return nil, err
			}
			results = append(results, Result{Family: families[f].number, Probe: "scan off the path", OffPath: o})
		}
	}
	return results, none.set()
}

// address returns one of a scanner's addresses.
func address(family, n int) netip.Addr {
	b := families[family].scanners.Addr().AsSlice()
	binary.BigEndian.PutUint16(b[len(b)-2:], uint16(1+n))
	a, _ := netip.AddrFromSlice(b)
	return a
}

// ports returns different ports that are closed, and last a live knock port.
func (w *testbed) ports(n int) (list []uint16, err error) {
	if w.knockPort, err = w.drawKnockPort(); err != nil {
		return nil, err
	}
	open := map[uint16]bool{webPort: true}
	for _, l := range looks {
		open[l.port] = true
	}
	p, now := w.server.Profiles[0], schedule.MinuteOf(time.Now())
	for m := now - 2; m <= now+2; m++ { // those that may take knocks meanwhile
		drawn, err := schedule.Ports(schedule.Algorithm1, p.PortSecret, m, p.Ports)
		if err != nil {
			return nil, err
		}
		for _, port := range drawn {
			open[port] = true
		}
	}
	for len(list) < n {
		if port := uint16(schedule.MinPort + rand.IntN(allPorts)); !open[port] {
			open[port] = true
			list = append(list, port)
		}
	}
	return append(list, w.knockPort), nil
}

func (w *testbed) probeFrom(family int, source netip.Addr, port uint16) error {
	from, to := netip.AddrPortFrom(source, port), netip.AddrPortFrom(families[family].server, port)
	return w.send(whole(from, to, protocolUDP, datagram(from, to, nil)))
}

// scanFor scans at the rate that the kernel answers.
func (w *testbed) scanFor(ctx context.Context, family int, s *Scan) error {
	const pace, tick = 950, 10 * time.Millisecond
	todo, err := w.ports(max(int(pace*w.Window.Seconds()/rounds), 10))
	if err != nil {
		return err
	}
	s.Ports = len(todo)
	began, sent := time.Now(), 0
	for range rounds {
		rand.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
		answered := map[uint16]bool{}
		for i, port := range todo {
			if err := w.probeFrom(family, address(family, sent%scanners), port); err != nil {
				return err
			}
			if sent++; sent%int(pace*tick/time.Second) > 0 && i < len(todo)-1 {
				continue
			}
			time.Sleep(time.Until(began.Add(time.Duration(sent) * time.Second / pace)))
			got, err := w.drain()
			if err != nil {
				return err
			}
			for _, a := range got {
				answered[a.port] = true // the source port of a probe is that of its destination
			}
		}
		todo = slices.DeleteFunc(todo, func(port uint16) bool { return answered[port] })
	}
	s.Seconds = time.Since(began).Seconds()
	s.Silent, s.Found = len(todo), slices.Contains(todo, w.knockPort)
	s.All = s.Seconds * allPorts / float64(s.Ports)
	return ctx.Err()
}

// offPath tests groups with a knock port, and without, in turns.
func (w *testbed) offPath(ctx context.Context, family int, o *OffPath) error {
	own := [2]int{}
	began := time.Now()
	for end := began.Add(w.Window / 2); o.Tests == 0 || time.Now().Before(end) && ctx.Err() == nil; o.Tests++ {
		list, err := w.ports(o.Group)
		if err != nil {
			return err
		}
		// The knock port takes the place of the first closed one.
		for i, group := range [][]uint16{list[:o.Group], list[1:]} {
			answered, err := w.test(family, group)
			if err != nil {
				return err
			}
			if answered {
				own[i]++
			}
		}
	}
	n := float64(o.Tests)
	o.PerSec = 2 * n / time.Since(began).Seconds()
	o.Closed, o.Among = float64(own[0])/n, float64(own[1])/n
	o.All = o.all()
	return ctx.Err()
}

// test uses up the errors that the kernel may send, waits until it may send a burst again,
// and sends forged probes to the ports of a group: does a probe from an own address still get an error?
func (w *testbed) test(family int, group []uint16) (answered bool, err error) {
	forge := func(port uint16) error {
		w.forged++
		return w.probeFrom(family, address(family, w.forged%addresses), port)
	}
	for range 3 * burst {
		if err := forge(answersPort); err != nil {
			return false, err
		}
	}
	if _, err := w.drain(); err != nil {
		return false, err
	}
	time.Sleep(refill)
	for i := range forgedProbes {
		if err := forge(group[i%len(group)]); err != nil {
			return false, err
		}
	}
	w.forged++
	self := address(family, w.forged%addresses)
	if err := w.probeFrom(family, self, answersPort); err != nil {
		return false, err
	}
	got, err := w.drain()
	return slices.ContainsFunc(got, func(r received) bool { return r.to == self && r.port == answersPort }), err
}
