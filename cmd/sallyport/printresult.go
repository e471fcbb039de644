package main

import (
	"fmt"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	"sallyport/sessions/client"
)

// printResult prints the result for people, and on standard error what they should know
// of it.
func printResult(env cli.Env, r client.Result) error {
	if err := printOpen(env, r); err != nil {
		return err
	}
	for _, service := range r.Also {
		if err := env.Out().Labelled(output.Cell{Text: "open", Colour: output.Green}, service.String()); err != nil {
			return err
		}
	}
	for _, text := range remarks(r) {
		if err := env.Err().Labelled(output.Cell{Text: "hint", Colour: output.Cyan}, text); err != nil {
			return err
		}
	}
	return nil
}

func printOpen(env cli.Env, r client.Result) error {
	open := output.Cell{Text: "open", Colour: output.Green}
	switch {
	case r.SingleUse:
		open.Text = "open for one connection"
		return env.Out().Labelled(open, r.Service.String())
	case !r.Watched:
		return env.Out().Labelled(output.Cell{Text: "sent", Colour: output.Green}, sentText(r))
	case r.Attempts == 1:
		return env.Out().Labelled(open, r.Service.String())
	}
	return env.Out().Labelled(open, fmt.Sprintf("%s (attempt %d)", r.Service, r.Attempts))
}

// sentText returns what the client sent, and why it does not know more.
func sentText(r client.Result) string {
	attempts := "one attempt"
	if r.Attempts > 1 {
		attempts = fmt.Sprintf("%d attempts", r.Attempts)
	}
	text := fmt.Sprintf("%s to %s; ", attempts, r.Address)
	switch {
	case !r.Service.IsValid():
		return text + "the profile names no service to watch, so the client cannot confirm that one opened"
	case r.UDP:
		return text + fmt.Sprintf("the client cannot confirm that %s opened, because it is a UDP service", serviceText(r))
	}
	return text + fmt.Sprintf("the client did not watch %s", r.Service)
}

// remarks returns what people should know of a service that opened.
func remarks(r client.Result) (texts []string) {
	if r.OpenBefore {
		texts = append(texts, fmt.Sprintf("%s was open before the knock: "+
			"the server does not hide it (is the server running?), or an earlier knock has opened it: for this address, "+
			"or for another one if the server's kernel cannot filter connections", r.Service))
	}
	if r.Watched && r.Rejected {
		texts = append(texts, fmt.Sprintf("ICMP errors came for knocks: %s did not accept them, so the knock did not open %s", r.Address, r.Service))
	}
	if r.Carrier == client.CarrierHTTPS || r.Carrier == client.CarrierDNS {
		texts = append(texts, fmt.Sprintf("the exchange went by %s", carrierText(r.Carrier)))
	}
	if len(r.Untried) > 0 {
		texts = append(texts, fmt.Sprintf("nothing confirms the packets, so the client has not gone on to %s: if this network drops them, add --carrier %s",
			carrierText(r.Untried[0]), r.Untried[0]))
	}
	if r.Lost != (client.Lost{}) {
		texts = append(texts, r.Lost.String())
	}
	return texts
}
