package main

import (
	"strings"

	"sallyport/ingest/xdp"
)

// where returns the interfaces, and what each has.
func (e *effectiveShield) where() string {
	var at []string
	for _, i := range e.Interfaces {
		switch owner := e.taken[i.Name]; {
		case i.Error != "":
			at = append(at, i.Name+" (not attached)")
		case owner == xdp.ThisPackage:
			at = append(at, i.Name+" (a shield of Sallyport is attached)")
		case owner != xdp.NoOwner:
			at = append(at, i.Name+" (an XDP program is attached)")
		case i.Mode != "":
			at = append(at, i.Name+" ("+i.Mode+")")
		default:
			at = append(at, i.Name)
		}
	}
	switch {
	case e.unread != nil:
		return "interfaces that cannot be read: " + e.unread.Error()
	case len(at) == 0:
		return "no interface"
	}
	return strings.Join(at, ", ")
}

// lines returns the shield for people: a line each.
func (e *effectiveShield) lines() []string {
	impossible := e.Possible != nil && !*e.Possible
	switch {
	case e.Mode == "off" && (e.Now == "on" || e.Now == "gone"):
		return []string{"off; the running server was started with it"}
	case e.Mode == "off" && e.Possible == nil:
		return []string{"off; only root, or a process with CAP_BPF and CAP_NET_ADMIN, can check whether this host can have it"}
	case e.Mode == "off" && impossible:
		return []string{"off; this host cannot have it: " + e.cause.Error()}
	case e.Mode == "off":
		return []string{"off; this host can have it (shield = \"xdp\"), on " + e.where()}
	case e.Now == "gone":
		return []string{"none now: the running server receives at its sockets"}
	case e.Now == "off":
		return []string{"none now: the running server was started without it"}
	case e.Now == "on" && e.nowhere():
		return []string{"attached nowhere: the running server receives at its sockets; " + e.where()}
	case e.Now == "" && impossible && !e.holds:
		return []string{"none: this host cannot have it, so a server receives at its sockets"}
	case e.Now == "" && e.nowhere():
		return []string{"no interface is free for it: " + e.where()}
	}
	list := []string{"before the sockets, on " + e.where()}
	if e.silent != nil {
		list = append(list, "whether the running server has it now is not known: "+e.silent.Error())
	}
	if e.Possible != nil && *e.Possible {
		list = append(list, e.flowLines()...)
	}
	if !e.Mirror {
		list = append(list, "your own firewall rules, and tcpdump on this host, do not see the datagrams that it takes (shield_mirror = true shows them, for debugging)")
	}
	return list
}

// flowLines returns what address translation costs the shield.
func (e *effectiveShield) flowLines() []string {
	switch {
	case e.Translates && e.Flows:
		return []string{
			"this host translates addresses (NAT), or its rules cannot be read: the shield looks up the flow of each datagram, and refuses about half as many a second",
			"the first datagram of a new flow that a rule redirects (DNAT) from a port that takes knocks at that moment is refused",
		}
	case e.Translates:
		return []string{"this host translates addresses (NAT), or its rules cannot be read, and this kernel does not let the shield look up flows: datagrams to high ports go to the sockets"}
	case !e.Flows:
		return []string{"this kernel does not let it look up flows: if this host translates addresses (NAT) later, datagrams to high ports go to the sockets"}
	}
	return nil
}
