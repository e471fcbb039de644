package firewall

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"sallyport/sessions/gate/access"
)

// families are the keys of the elements that shut what is on trial. Both end together.
var families = []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6}

// trialOver matches packets if no element of a set shuts their family.
func trialOver(set *nftables.Set) match {
	return match{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID, Invert: true},
	}
}

// acceptEarlier accepts packets of connections from before the trial, which no grant let
// in. They do not get the label of a grant.
func (b builder) acceptEarlier(c *nftables.Chain, p Port) {
	earlier := b.batch.AddChain(&nftables.Chain{Table: table, Name: p.name() + "_earlier"})
	b.rule(earlier, labelled(labelEntered), ret)
	b.rule(earlier, accept)
	b.rule(c, p.notBareSYN(), state(expr.CtStateBitESTABLISHED), jump(earlier.Name))
}

// labelEntering labels connections that begin by a grant. Over TCP, only a SYN shows that
// one begins: conntrack may track an earlier one from its middle.
func (b builder) labelEntering(c *nftables.Chain, p Port) {
	begins := state(expr.CtStateBitNEW)
	if p.Protocol == TCP {
		begins = rule(bareSYN(), begins)
	}
	for _, is := range p.sets().isGranted() {
		b.rule(c, p.Protocol.match(), begins, is, setLabel(labelEntered))
	}
}

// acceptLater accepts all packets once no element shuts the port: the trial is over.
func (b builder) acceptLater(c *nftables.Chain, set string) {
	b.rule(c, trialOver(b.sets.named[set]), accept)
}

// addTrials adds the elements that shut what is on trial to a batch that makes the
// sets: each transaction that makes the table has them.
func (t *Table) addTrials(batch *nftables.Conn) error {
	now := t.clock.Monotonic()
	t.trialGiven = map[string]time.Duration{}
	for name, end := range t.cfg.trialEnds() {
		left := end.Sub(now)
		t.trialGiven[name] = left
		if left <= 0 {
			continue
		}
		var elements []nftables.SetElement
		for _, f := range families {
			elements = append(elements, nftables.SetElement{Key: []byte{f}, Timeout: max(left, MinTime)})
		}
		if err := batch.SetAddElements(t.sets.named[name], elements); err != nil {
			return fmt.Errorf("shut %s: %w", name, err)
		}
	}
	return nil
}

// trialIntact reports whether the elements of a set shut what is on trial for as long as
// they should.
func (t *Table) trialIntact(set string, elements []nftables.SetElement) bool {
	return trialIntact(t.cfg.trialEnds()[set].Sub(t.clock.Monotonic()), t.trialGiven[set], elements)
}

// maxDrift is how much faster or slower than CLOCK_MONOTONIC the kernel's ticks may count,
// by which elements end: the time service slews that clock by at most 1/2000.
const maxDrift = 1. / 1000

// trialIntact is Table.trialIntact for a trial with a time left, of the time that its
// elements were given.
func trialIntact(left, given time.Duration, elements []nftables.SetElement) bool {
	tolerance := 2*slack + time.Duration(maxDrift*float64(given))
	for _, e := range elements {
		if e.Timeout == 0 || (e.Expires-left).Abs() > tolerance {
			return false
		}
	}
	return left < tolerance || len(elements) == len(families)
}

// Trial returns what is on trial, also where the trial is over.
func (t *Table) Trial() Trial {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.cfg.Trial)
}

// SetTrial replaces what is on trial. A service that is no longer in it is closed from
// the transaction on that makes the table, with the grants that are open, and earlier
// connections to it that no grant let in end. If SetTrial fails, the earlier table is
// in force.
func (t *Table) SetTrial(next Trial) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.setTrial(maps.Clone(next)); err != nil {
		return fmt.Errorf("change the trial: %w", err)
	}
	return nil
}

func (t *Table) setTrial(next Trial) error {
	cfg := t.cfg
	cfg.Trial = next
	if err := t.reconfigure(cfg); err != nil {
		return err
	}
	_, err := t.endUngranted()
	return err
}

// flowKey identifies a connection by its client's end and the address that it asked for.
type flowKey struct {
	protocol uint8
	from, to netip.AddrPort
}

func keyOf(flow *netlink.ConntrackFlow) flowKey {
	f := flow.Forward
	return flowKey{f.Protocol, socketEnd(f.SrcIP, f.SrcPort), socketEnd(f.DstIP, f.DstPort)}
}

// noteEarlier notes connections of an earlier trial, which prove nothing for this one.
func (t *Table) noteEarlier() error {
	t.earlier = map[flowKey]bool{}
	if len(t.cfg.Trial) == 0 {
		return nil
	}
	return eachFlow(func(flow *netlink.ConntrackFlow) {
		if hasLabelBit(flow.Labels, labelEntered) {
			t.earlier[keyOf(flow)] = true
		}
	})
}

// Entered returns the services to which a client has connected since Claim, while something
// is on trial, by a connection that began by a grant and that conntrack still knows. Over
// TCP the handshake must have completed. It reads the conntrack table, which may take a
// second.
func (t *Table) Entered() (entered []access.ServiceID, err error) {
	t.mu.Lock()
	cfg, earlier := t.cfg, t.earlier
	t.mu.Unlock()
	err = eachFlow(func(flow *netlink.ConntrackFlow) {
		if !hasLabelBit(flow.Labels, labelEntered) || earlier[keyOf(flow)] || !completed(flow) {
			return
		}
		for _, p := range cfg.Ports {
			if p.canTry() && p.carries(flow) && !slices.Contains(entered, p.Service) {
				entered = append(entered, p.Service)
			}
		}
	})
	return entered, err
}

// States of a TCP connection, as of include/uapi/linux/netfilter/nf_conntrack_tcp.h.
const stateEstablished, stateTimeWait = 3, 7

// completed reports whether the handshake of a TCP connection has completed.
func completed(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != uint8(TCP) {
		return true
	}
	tcp, ok := flow.ProtoInfo.(*netlink.ProtoInfoTCP)
	return ok && stateEstablished <= tcp.State && tcp.State <= stateTimeWait
}

func eachFlow(f func(*netlink.ConntrackFlow)) error {
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		flows, err := listFlows(family)
		if err != nil {
			return err
		}
		for _, flow := range flows {
			f(flow)
		}
	}
	return nil
}
