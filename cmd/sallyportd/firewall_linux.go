package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"sallyport/verify/schedule"
)

// checkFirewall looks for nftables chains that would drop knocks on their way
// in. It cannot follow every rule: it warns of a chain that drops by default
// unless one of its rules plainly accepts UDP to all knock ports.
func checkFirewall() (warnings []string) {
	if names, err := os.ReadFile("/proc/net/ip_tables_names"); err == nil && len(bytes.TrimSpace(names)) > 0 {
		warnings = append(warnings, "this host has legacy iptables rules, which are not looked at: make sure that they let UDP to ports 1025 to 65535 in")
	}
	conn, err := nftables.New()
	if err != nil {
		return append(warnings, fmt.Sprintf("this host's firewall cannot be read (%v): make sure that it lets UDP to ports 1025 to 65535 in", err))
	}
	chains, err := conn.ListChains()
	if err != nil {
		return append(warnings, fmt.Sprintf("this host's firewall cannot be read without CAP_NET_ADMIN (%v): make sure that it lets UDP to ports 1025 to 65535 in", err))
	}
	for _, c := range chains {
		if c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookInput || c.Policy == nil || *c.Policy != nftables.ChainPolicyDrop {
			continue
		}
		rules, err := conn.GetRules(c.Table, c)
		if err != nil {
			return append(warnings, fmt.Sprintf("the rules of the firewall chain %s %s cannot be read: %v", c.Table.Name, c.Name, err))
		}
		accepts := false
		for _, r := range rules {
			accepts = accepts || acceptsKnocks(r.Exprs)
		}
		if !accepts {
			warnings = append(warnings, fmt.Sprintf("the firewall chain \"%s %s\" drops by default, and no rule of its own plainly accepts knocks: nft add rule %s %s %s udp dport %d-%d accept",
				c.Table.Name, c.Name, familyName(c.Table.Family), c.Table.Name, c.Name, schedule.MinPort, schedule.MaxPort))
		}
	}
	return warnings
}

// acceptsKnocks reports whether a rule accepts UDP to all knock ports, and
// asks for nothing else.
func acceptsKnocks(exprs []expr.Any) bool {
	loaded, verdict := "", false
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Counter:
		case *expr.Meta:
			if loaded = ""; e.Key == expr.MetaKeyL4PROTO {
				loaded = "protocol"
			}
			if loaded == "" {
				return false
			}
		case *expr.Payload:
			if e.Base != expr.PayloadBaseTransportHeader || e.Offset != 2 || e.Len != 2 {
				return false
			}
			loaded = "port"
		case *expr.Cmp:
			switch {
			case loaded == "protocol" && e.Op == expr.CmpOpEq && bytes.Equal(e.Data, []byte{unix.IPPROTO_UDP}):
			case loaded == "port" && e.Op == expr.CmpOpGte && port(e.Data) <= schedule.MinPort:
			case loaded == "port" && e.Op == expr.CmpOpLte && port(e.Data) == schedule.MaxPort:
			default:
				return false
			}
		case *expr.Range:
			if loaded != "port" || e.Op != expr.CmpOpEq || port(e.FromData) > schedule.MinPort || port(e.ToData) != schedule.MaxPort {
				return false
			}
		case *expr.Verdict:
			verdict = e.Kind == expr.VerdictAccept
		default:
			return false
		}
	}
	return verdict
}

func port(data []byte) uint16 {
	if len(data) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(data)
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	}
	return "inet"
}
