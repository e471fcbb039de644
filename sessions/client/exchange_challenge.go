package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
	"sallyport/verify/schedule"
)

// Challenge is a client's configuration for an operation of a server, which it
// requests by the challenge–response protocol.
type Challenge struct {
	Operation *exchange.Operation
	// Secret returns the operation's secret, if Operation has no keys. A program may
	// have to ask a person for it. The keys are derived in memory: unlike a client's
	// secret, an operation's cannot stay in a device that only computes HMACs.
	Secret func(context.Context) (string, error)
	// Key signs, if Operation has public keys. KeyFile is the path of the private key, as
	// the profile has it; Agent: the SSH agent has it. PublicKeys are those of which the
	// server knows each. The program that uses a profile sets Key by these.
	Key               KeySigner
	KeyFile           string
	Agent             bool
	PublicKeys        []exchange.PublicKey
	Request, Response challenge.Encoding
	SharedPorts       bool // requests and responses may have ports in common
	// Hop is from how many bases each minute draws, by HopKey; 0: the ports do not move.
	// The client's clock must then be right, as for the sequence protocol.
	Hop    uint16
	HopKey schedule.HopKey
	// AnswerPort: the packets of requests and responses are SYNs, and the client
	// fetches the challenge from this TCP port. 0: they are empty UDP packets, and the
	// challenge is one too.
	AnswerPort uint16
	// Service is the service that the operation opens, as in Profile. With a random
	// port, it is not used.
	Service string
	Bind    Bind // what the server binds the connection to Service to
	// ServiceName is that of a Profile.
	ServiceName string
	// OpenFor is how long the operation opens; 0: that is not known, or it has no end.
	OpenFor   time.Duration
	Handshake Handshake // what a completed handshake with Service proves
	// HTTPS is the URL of the web server that takes exchanges, and DNS the zone whose
	// servers do; empty: there is none. Without packets, Request and Response are zero.
	HTTPS, DNS string
	// DNSServers are names or addresses of the zone's servers, with a port if that is not
	// 53: the client asks them if its resolver does not help.
	DNSServers []string
	Tunnel     bool // the web server carries connections to Service
}

// Check returns an error if the fields do not fit together: the messages must fit
// the encodings over IPv4 or over IPv6.
func (c Challenge) Check() error {
	if c.Hop > schedule.MaxHop {
		return fmt.Errorf("expected a hop of at most %d bases, got %d", schedule.MaxHop, c.Hop)
	}
	if err := c.checkCarriers(); err != nil {
		return err
	}
	if c.HasPackets() || !c.hasCarrier() {
		if err := c.checkPackets(); err != nil {
			return err
		}
	}
	if c.OpenFor < 0 {
		return fmt.Errorf("expected a time above 0 for which the operation opens, got %s", c.OpenFor)
	}
	if err := c.Bind.check(c.Service, c.ServiceName); err != nil {
		return err
	}
	if err := c.Handshake.check(c.Service); err != nil {
		return err
	}
	if c.Service == "" {
		return nil
	}
	_, err := ParseService(c.Service)
	return err
}

// checkPackets returns an error if the messages do not fit the encodings.
func (c Challenge) checkPackets() error {
	plan := c.plan()
	requests, responses, err := c.codecs(false)
	if _, _, err6 := c.codecs(true); err != nil && err6 != nil {
		return err
	}
	if c.AnswerPort != 0 && err == nil && (plan.Reach(requests).Contains(c.AnswerPort) || plan.Reach(responses).Contains(c.AnswerPort)) {
		return fmt.Errorf("answer_port %d is one of the ports of requests, %s, or of responses, %s", c.AnswerPort, plan.Reach(requests), plan.Reach(responses))
	}
	return nil
}

// keyed returns the operation with its keys.
func (c Challenge) keyed(ctx context.Context) (*exchange.Operation, error) {
	if c.Operation != nil && c.Operation.Signed() {
		return c.Operation, c.prepareKey(ctx)
	}
	if c.Secret == nil {
		return c.Operation, nil
	}
	secret, err := c.Secret(ctx)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, &SigningError{err: err, unsent: true}
	}
	return c.Operation.WithSecret(secret)
}

// codecs returns the codecs of the messages at their lowest bases.
func (c Challenge) codecs(v6 bool) (requests, responses *challenge.Codec, err error) {
	if c.Operation == nil {
		return nil, nil, errors.New("the operation is missing")
	}
	return c.plan().Codecs(c.Operation.RequestSize(v6), c.Operation.ResponseSize())
}

func (c Challenge) plan() challenge.Plan {
	// Only the server knows on which ports it receives.
	any := challenge.Ports{First: 1, Last: schedule.MaxPort}
	return challenge.Plan{Request: c.Request, Response: c.Response, Ports: any, Shared: c.SharedPorts, Hop: c.Hop}
}
