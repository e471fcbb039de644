package diag

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Rules describes the table of nftables with a name, of the family inet: chains, rules with
// their counters, and sets with the number of their elements. It asks the kernel directly:
// the image has no program nft. It requires CAP_NET_ADMIN.
func Rules(name string) (string, error) {
	conn, err := nftables.New()
	if err != nil {
		return "", err
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return "", fmt.Errorf("list the tables of nftables: %w", err)
	}
	var out strings.Builder
	var failed []error
	found := false
	for _, t := range tables {
		if t.Name != name {
			continue
		}
		found = true
		fmt.Fprintf(&out, "table inet %s flags %d\n", t.Name, t.Flags)
		failed = append(failed, writeSets(&out, conn, t), writeChains(&out, conn, t))
	}
	if !found {
		fmt.Fprintf(&out, "there is no table inet %s\n", name)
	}
	return out.String(), errors.Join(failed...)
}

func writeSets(out *strings.Builder, conn *nftables.Conn, t *nftables.Table) error {
	sets, err := conn.GetSets(t)
	if err != nil {
		return fmt.Errorf("list the sets: %w", err)
	}
	var failed []error
	for _, s := range sets {
		elements, err := conn.GetSetElements(s)
		if err != nil {
			failed = append(failed, fmt.Errorf("list the elements of %s: %w", s.Name, err))
		}
		fmt.Fprintf(out, "  set %s key %q map %t interval %t timeout %t constant %t elements %d\n", s.Name, s.KeyType.Name, s.IsMap, s.Interval, s.HasTimeout, s.Constant, len(elements))
	}
	return errors.Join(failed...)
}

func writeChains(out *strings.Builder, conn *nftables.Conn, t *nftables.Table) error {
	chains, err := conn.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return fmt.Errorf("list the chains: %w", err)
	}
	var failed []error
	for _, c := range chains {
		if c.Table.Name != t.Name {
			continue
		}
		fmt.Fprintf(out, "  chain %s", c.Name)
		if c.Hooknum != nil && c.Priority != nil {
			fmt.Fprintf(out, " type %s hook %d priority %d", c.Type, *c.Hooknum, *c.Priority)
		}
		if c.Policy != nil {
			fmt.Fprintf(out, " policy %s", map[nftables.ChainPolicy]string{nftables.ChainPolicyAccept: "accept", nftables.ChainPolicyDrop: "drop"}[*c.Policy])
		}
		out.WriteString("\n")
		rules, err := conn.GetRules(t, c)
		if err != nil {
			failed = append(failed, fmt.Errorf("list the rules of %s: %w", c.Name, err))
		}
		for _, r := range rules {
			fmt.Fprintf(out, "    %s\n", ruleText(r))
		}
	}
	return errors.Join(failed...)
}

// ruleText returns a rule as a list of expressions. The value after a load of an address is
// written as an address, so that it gets a pseudonym.
func ruleText(r *nftables.Rule) string {
	var parts []string
	address := false
	for _, e := range r.Exprs {
		name := strings.TrimPrefix(fmt.Sprintf("%T", e), "*expr.")
		text := ""
		switch v := e.(type) {
		case *expr.Payload:
			address = v.Base == expr.PayloadBaseNetworkHeader && v.Offset >= 8 && v.Len >= 2
			text = fmt.Sprintf("base %d offset %d length %d => register %d", v.Base, v.Offset, v.Len, v.DestRegister)
		case *expr.Cmp:
			text = fmt.Sprintf("register %d op %d %s", v.Register, v.Op, dataText(v.Data, address))
		case *expr.Range:
			text = fmt.Sprintf("register %d op %d %s to %s", v.Register, v.Op, dataText(v.FromData, address), dataText(v.ToData, address))
		case *expr.Immediate:
			text = fmt.Sprintf("register %d %s", v.Register, dataText(v.Data, len(v.Data) == 4 || len(v.Data) == 16))
		case *expr.Bitwise:
			text = fmt.Sprintf("register %d & %x ^ %x", v.SourceRegister, v.Mask, v.Xor)
		case *expr.Counter:
			text = fmt.Sprintf("packets %d bytes %d", v.Packets, v.Bytes)
		case *expr.Lookup:
			text = fmt.Sprintf("register %d set %s invert %t", v.SourceRegister, v.SetName, v.Invert)
		case *expr.Dynset:
			text = fmt.Sprintf("register %d set %s operation %d timeout %s", v.SrcRegKey, v.SetName, v.Operation, v.Timeout)
		case *expr.Verdict:
			text = fmt.Sprintf("kind %d chain %q", v.Kind, v.Chain)
		case *expr.Meta:
			text = fmt.Sprintf("key %d register %d set %t", v.Key, v.Register, v.SourceRegister)
		case *expr.Ct:
			text = fmt.Sprintf("key %d register %d set %t", v.Key, v.Register, v.SourceRegister)
		}
		parts = append(parts, "["+strings.TrimSpace(strings.ToLower(name)+" "+text)+"]")
	}
	return strings.Join(parts, " ")
}

// dataText returns a value. One with the first bytes of an address is filled with zeros.
func dataText(data []byte, address bool) string {
	if address && len(data) >= 2 {
		length := 4
		if len(data) > 4 {
			length = 16
		}
		if a, ok := netip.AddrFromSlice(append(slices.Clone(data), make([]byte, max(length-len(data), 0))...)); ok {
			return a.String()
		}
	}
	return fmt.Sprintf("0x%x", data)
}
