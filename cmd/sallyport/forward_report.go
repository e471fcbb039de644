package main

import (
	"fmt"
	"strings"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/internal/output"
	forwarding "sallyport/sessions/client/forward"
)

// forwardEvent is a line of forward --json. Later versions may add fields.
type forwardEvent struct {
	Event   string   `json:"event"`             // "listening", "open" or "failed"
	Port    string   `json:"port"`              // of the service, as in the arguments
	Local   []string `json:"local,omitempty"`   // listening: the addresses of the local sockets
	Service string   `json:"service,omitempty"` // open: its address and port; missing: it is reached through the web server
	// failed: as in the error of each command
	Error   string   `json:"error,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Certain []string `json:"certain,omitempty"`
	Likely  []string `json:"likely,omitempty"`
	Hint    string   `json:"hint,omitempty"`
}

// forwardReport prints what forward does. The reader of its output may have ended, which
// must not end the connections: so it ignores errors of later lines.
type forwardReport struct {
	env     cli.Env
	options *knockOptions
	words   []forwarding.Word
	names   map[string]string // of each route's Service: its port, as in the arguments
	failed  map[string]bool   // by port
}

func newForwardReport(env cli.Env, o *knockOptions, routes []forwarding.Route, words []forwarding.Word) *forwardReport {
	r := &forwardReport{env: env, options: o, words: words, names: map[string]string{}, failed: map[string]bool{}}
	for i, route := range routes {
		r.names[route.Service] = words[i].Name()
	}
	return r
}

// listening prints the local sockets of each port.
func (r *forwardReport) listening(sockets []forwarding.Sockets) error {
	for i, s := range sockets {
		port := r.words[i].Name()
		var err error
		if r.options.json {
			err = r.print(forwardEvent{Event: "listening", Port: port, Local: s.Local})
		} else {
			text := fmt.Sprintf("%s, for port %s of the server", strings.Join(s.Local, " and "), port)
			err = r.env.Out().Labelled(output.Cell{Text: "listening", Colour: output.Green}, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *forwardReport) event(e forwarding.Event) {
	switch e := e.(type) {
	case forwarding.Opening:
		port := r.names[e.Route.Service]
		again := r.failed[port]
		r.failed[port] = false
		service, text := "", "through the web server"
		if e.Service.IsValid() {
			service = e.Service.String()
			text = service
		}
		if r.options.json {
			r.print(forwardEvent{Event: "open", Port: port, Service: service})
		} else if again || r.options.verbose {
			r.env.Out().Labelled(output.Cell{Text: "open", Colour: output.Green}, text)
		}
	case forwarding.Failed:
		port := r.names[e.Route.Service]
		r.failed[port] = true
		f := cli.Explain(e.Err)
		if r.options.json {
			r.print(forwardEvent{
				Event: "failed", Port: port, Error: f.Error, Reason: f.Reason,
				Certain: f.Certain, Likely: f.Likely, Hint: f.Hint,
			})
		} else {
			f.Print(r.env.Err(), "port "+port)
		}
	}
}

// print prints an event as JSON.
func (r *forwardReport) print(e forwardEvent) error { return r.env.Out().JSON(e) }
