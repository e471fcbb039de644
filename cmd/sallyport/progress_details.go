package main

import (
	"fmt"
	"runtime"
	"strings"

	"sallyport/cmd/internal/output"
	"sallyport/sessions/client"
)

// details prints the versions, the clock, and the settings of the profile that are
// not secret.
func (p *progress) details(version string, profile client.Profile, challenge bool) {
	settings := []string{"server " + profile.Server}
	if len(profile.Gateways) > 0 {
		settings = []string{"gateways " + joined(profile.Gateways, func(g client.Gateway) string { return g.Name + " at " + g.Server })}
	}
	service := profile.Service
	if challenge {
		c := profile.Challenge
		settings = append(settings, "protocol challenge", fmt.Sprintf("algorithm %d", c.Operation.Algorithm()))
		if c.Operation.Signed() {
			settings = append(settings, keyText(*c))
		}
		if c.HasPackets() {
			settings = append(settings, fmt.Sprintf("requests %s from port %d", c.Request.Scheme, c.Request.Base),
				fmt.Sprintf("responses %s from port %d", c.Response.Scheme, c.Response.Base))
		}
		for _, carrier := range []struct{ name, at string }{{"https", c.HTTPS}, {"dns", c.DNS}} {
			if carrier.at != "" {
				settings = append(settings, carrier.name+" "+carrier.at)
			}
		}
		if c.Tunnel {
			settings = append(settings, "a tunnel")
		}
		if c.SharedPorts {
			settings = append(settings, "shared ports")
		}
		if c.Hop != 0 {
			settings = append(settings, fmt.Sprintf("one of %d bases each minute", c.Hop))
		}
		if c.AnswerPort != 0 {
			settings = append(settings, fmt.Sprintf("transport tcp, challenges from port %d", c.AnswerPort))
		}
		if c.Service != "" {
			service = c.Service
		}
	} else {
		settings = append(settings, "protocol sequence", fmt.Sprintf("%d ports", profile.Ports),
			"generator "+profile.Generator.String())
	}
	if p.options.service != "" {
		service = p.options.service
	}
	if service == "" {
		service = "none"
	}
	settings = append(settings, "service "+service)
	program := fmt.Sprintf("sallyport %s, %s, %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	p.printer.Columns().Print(
		detail("version", program),
		detail("clock", p.env.Time(p.env.Now())+", "+clockText(client.ClockState())),
		detail("profile", strings.Join(settings, ", ")),
	)
}

// keyText is where the private key of an operation with public keys is.
func keyText(c client.Challenge) string {
	if c.Agent {
		return fmt.Sprintf("%d public keys, by the SSH agent", len(c.PublicKeys))
	}
	return fmt.Sprintf("%d public keys, by the file %s", len(c.PublicKeys), c.KeyFile)
}

func detail(name, text string) []output.Cell {
	return []output.Cell{{Text: name, Colour: output.Bold}, {Text: text}}
}

func clockText(c client.Clock) string {
	switch c {
	case client.ClockSynchronised:
		return "synchronised"
	case client.ClockUnsynchronised:
		return "not synchronised"
	}
	return "synchronisation unknown"
}
