package nftcheck

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// writers are programs that write whole tables, by the name of the table.
var writers = map[string]string{
	"docker-bridges": "Docker", "netavark": "Podman", "libvirt_network": "libvirt", "kube-proxy": "Kubernetes", "lxd": "LXD", "incus": "Incus", "fw4": "OpenWrt",
	"f2b-table": "fail2ban", "crowdsec": "CrowdSec", "crowdsec6": "CrowdSec",
}

// hintFor shows how to accept packets that a chain drops, with the tool that
// wrote the chain. It never names a command that changes the table of a program
// that owns its rules.
func (r *ruleset) hintFor(c *chain, s subject, d drop) string {
	beside := func(prefix string) bool {
		return slices.ContainsFunc(r.chains, func(x *chain) bool {
			return x.family == c.family && x.table == c.table && x.legacy == c.legacy && strings.HasPrefix(x.name.name, prefix)
		})
	}
	_, known := legacyPriorities[c.table]
	iptablesTable := known && (c.family == unix.NFPROTO_IPV4 || c.family == unix.NFPROTO_IPV6) && slices.Contains(legacyHookNames[:], c.name.name)
	switch writer := writers[c.table]; {
	case writer != "":
		return fmt.Sprintf("%s writes this table: change the settings of %[1]s", writer)
	case c.table == "firewalld" && strings.HasSuffix(d.in.name.name, "_deny"):
		return "remove that rule from its zone: \"firewall-cmd --list-rich-rules\" lists the rules of the default zone"
	case c.table == "firewalld", iptablesTable && beside("INPUT_ZONES"):
		command := "firewall-cmd --permanent"
		for _, x := range s.to {
			command += fmt.Sprintf(" --add-port=%s/%s", ports{x}, s.protocol)
		}
		return fmt.Sprintf("\"%s\", then \"firewall-cmd --reload\", accept them", command)
	case iptablesTable && beside("ufw"):
		return ufwHint(s, d)
	case iptablesTable && programOf(d.in) != "":
		return fmt.Sprintf("%s writes this rule: change the settings of %[1]s", programOf(d.in))
	case iptablesTable:
		match := "--dport"
		if len(s.to) > 1 {
			match = "-m multiport --dports"
		}
		return fmt.Sprintf("\"%s -p %s %s %s -j ACCEPT\" accepts them", iptablesInsert(c), s.protocol, match, s.numbers(":"))
	}
	return fmt.Sprintf("\"nft insert rule %s %s accept\" accepts them", c.name, s.match())
}

// ufwHint is for chains of ufw.
func ufwHint(s subject, d drop) string {
	switch own := strings.HasPrefix(d.in.name.name, "ufw"); {
	case d.rule != "" && own:
		return fmt.Sprintf("\"ufw prepend allow %s\" accepts them before that rule", s.portsFor(":"))
	case d.rule != "" && !d.in.base:
		if program := programOf(d.in); program != "" {
			return fmt.Sprintf("%s writes this rule: change the settings of %[1]s", program)
		}
	}
	if d.rule == "" {
		return fmt.Sprintf("\"ufw allow %s\" accepts them", s.portsFor(":"))
	}
	return "the rule is not one of ufw: remove it, or move it behind those of ufw"
}

// programOf returns the program that writes a chain of iptables; empty: unknown.
func programOf(c *chain) string {
	for prefix, program := range map[string]string{"DOCKER": "Docker", "KUBE-": "Kubernetes", "cali-": "Calico", "CILIUM_": "Cilium", "LIBVIRT_": "libvirt", "ts-": "Tailscale", "f2b-": "fail2ban", "NETAVARK": "Podman", "CNI-": "the CNI plug-in"} {
		if strings.HasPrefix(c.name.name, prefix) {
			return program
		}
	}
	return ""
}

// iptablesInsert is the command that inserts a rule into a chain.
func iptablesInsert(c *chain) string {
	text := "iptables"
	if c.family == unix.NFPROTO_IPV6 {
		text = "ip6tables"
	}
	if c.legacy {
		text += "-legacy"
	}
	if c.table != "filter" {
		text += " -t " + c.table
	}
	return text + " -I " + c.name.name
}

// numbers are the ports of a subject, with a separator between first and last.
func (s subject) numbers(separator string) string {
	var all []string
	for _, x := range s.to {
		text := fmt.Sprint(x.low)
		if x.high > x.low {
			text += fmt.Sprintf("%s%d", separator, x.high)
		}
		all = append(all, text)
	}
	return strings.Join(all, ",")
}

func (s subject) portsFor(separator string) string { return s.numbers(separator) + "/" + s.protocol }
