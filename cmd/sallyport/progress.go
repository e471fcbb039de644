package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/hint"
	"sallyport/cmd/internal/output"
	"sallyport/sessions/client"
)

// progress prints on standard error what the client does: everything with
// --verbose, otherwise only a long wait. It prints no secrets.
type progress struct {
	env     cli.Env
	options *knockOptions
	printer *output.Printer
	events  *output.Columns // time and text
}

func newProgress(env cli.Env, o *knockOptions) *progress {
	p := env.Err()
	return &progress{env: env, options: o, printer: p, events: p.Columns(len(output.TimeFormat))}
}

// report prints an event.
func (p *progress) report(e client.Event) {
	text := p.text(e)
	if p.options.verbose {
		p.events.Print(output.Row(p.env.Time(p.env.Now()), text))
	} else if _, waits := e.(client.Waiting); waits {
		p.printer.Printf("%s\n", text)
	}
	if changing, ok := e.(client.Changing); ok && !changing.Remembered && !p.options.verbose {
		p.printer.Printf("hint: %s\n", text)
	}
	if _, switching := e.(client.Switching); switching && !p.options.verbose {
		p.printer.Printf("hint: %s\n", text)
	}
	if _, moved := e.(client.Moved); moved && !p.options.verbose {
		p.printer.Printf("hint: %s\n", text)
	}
}

func (p *progress) text(e client.Event) string {
	switch e := e.(type) {
	case client.Resolved:
		return fmt.Sprintf("%s has the addresses %s", e.Server, joined(e.Addresses, netip.Addr.String))
	case client.Sent:
		ports := joined(e.Packets, func(p client.Packet) string { return strconv.Itoa(int(p.Port)) })
		minute := ""
		if e.Previous {
			minute = " of the previous minute"
		}
		drawn := ""
		if len(e.Drawn) > 0 {
			drawn = ", for the service at one of the ports " + joined(e.Drawn, func(port uint16) string { return strconv.Itoa(int(port)) })
		}
		clock := ""
		if e.ByClock {
			clock = ", which go by the clock"
		}
		return fmt.Sprintf("attempt %d of %d: %d knocks to %s, UDP ports %s%s, nonces from %d%s%s",
			e.Attempt, e.Of, len(e.Packets), e.Address, ports, minute, e.Base, clock, drawn)
	case client.Changing:
		if e.Remembered {
			return fmt.Sprintf("%s has worked in this network before, and goes first", carrierText(e.To))
		}
		return fmt.Sprintf("no success so far; the next attempts go by %s", carrierText(e.To))
	case client.Switching:
		return fmt.Sprintf("gateway %s: %v; trying gateway %s", e.From, e.Err, e.To)
	case client.Requested:
		if e.Packets == 0 {
			return fmt.Sprintf("attempt %d of %d: a request by %s, for %s", e.Attempt, e.Of, carrierText(e.Carrier), e.Address)
		}
		protocol := "UDP"
		if e.TCP {
			protocol = "TCP"
		}
		return fmt.Sprintf("attempt %d of %d: a request of %d packets to %s, %s ports %d to %d",
			e.Attempt, e.Of, e.Packets, e.Address, protocol, e.First, e.Last)
	case client.Answered:
		text := fmt.Sprintf("challenge received after %s", e.Took.Round(time.Millisecond))
		if e.Public.IsValid() {
			text += fmt.Sprintf("; the server sees this computer as %s", e.Public)
		}
		if e.Packets > 0 {
			text += fmt.Sprintf("; a response of %d packets", e.Packets)
		}
		return text
	case client.Unanswered:
		return unanswered(e)
	case client.Moved:
		if e.Previous {
			return "the service opened by the ports of the previous minute, after the nonces were moved ahead: another " +
				"program on the server may hold one of this minute's ports; or this profile may be in use on another " +
				"device (each needs its own client), or comes from a backup; or the last knocks were not watched, " +
				"or the server starts a program or a command first"
		}
		return "the service opened after the nonces were moved ahead: this profile may be in use on another device " +
			"(each needs its own client), or comes from a backup; or the last knocks were not watched, " +
			"or the server starts a program or a command first"
	case client.Waiting:
		return fmt.Sprintf("no answer yet; waiting %s for the next minute's ports (--no-wait skips this)",
			e.For.Round(time.Second))
	}
	return ""
}

func unanswered(e client.Unanswered) string {
	text := fmt.Sprintf("attempt %d: ", e.Attempt)
	if e.Service.IsValid() {
		text += "no answer from " + e.Service.String() + ": "
	}
	if e.Err == nil {
		return text + fmt.Sprintf("ICMP errors for knocks to %s: %d port unreachable, %d others", e.Address, e.Refused, e.Blocked)
	}
	text += hint.Cause(e.Err).Error()
	if e.Refused+e.Blocked > 0 {
		text += fmt.Sprintf("; ICMP errors for knocks: %d port unreachable, %d others", e.Refused, e.Blocked)
	}
	return text
}

// carrierText is the name of a carrier in texts.
func carrierText(c client.Carrier) string {
	switch c {
	case client.CarrierHTTPS:
		return "HTTPS"
	case client.CarrierDNS:
		return "DNS"
	}
	return "packets"
}

func joined[T any](list []T, text func(T) string) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = text(v)
	}
	return strings.Join(texts, ",")
}
