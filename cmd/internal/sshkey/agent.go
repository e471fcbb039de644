package sshkey

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/ssh/agent"

	"sallyport/cmd/internal/hint"
	"sallyport/verify/challenge/exchange"
)

// agentSigner has the private key in an SSH agent.
type agentSigner struct {
	keys []exchange.PublicKey
	dial func(context.Context) (io.ReadWriteCloser, error)
}

// Prepare checks that the agent has one of the keys.
func (s *agentSigner) Prepare(ctx context.Context) error {
	return s.with(ctx, func(agent.ExtendedAgent, *agent.Key, exchange.PublicKey) error { return nil })
}

// Sign implements client.KeySigner. The agent may ask a person, or wait for a touch.
func (s *agentSigner) Sign(ctx context.Context, data []byte) (response []byte, err error) {
	if err := checkData(data); err != nil {
		return nil, err
	}
	err = s.with(ctx, func(a agent.ExtendedAgent, key *agent.Key, k exchange.PublicKey) error {
		signature, err := a.Sign(key, data)
		if err != nil {
			return fmt.Errorf("the SSH agent refused to sign with %s: %w", Fingerprint(k), err)
		}
		if signature.Format != k.Type() {
			return fmt.Errorf("the SSH agent signed by %.40q, expected %s", signature.Format, k.Type())
		}
		// Of a security key, the flags and the counter come after the signature.
		response = append(signature.Blob, signature.Rest...)
		return nil
	})
	return response, err
}

// with calls f with the first of the keys that the agent has. When ctx ends, it closes
// the connection.
func (s *agentSigner) with(ctx context.Context, f func(agent.ExtendedAgent, *agent.Key, exchange.PublicKey) error) error {
	conn, err := s.dial(ctx)
	if err != nil {
		return hint.With(fmt.Errorf("reach the SSH agent: %w", err),
			"start one, such as with eval $(ssh-agent), and add the key: ssh-add; or set key in place of agent in the profile")
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	a := agent.NewClient(conn)
	list, err := a.List()
	if err != nil {
		return fmt.Errorf("list the keys of the SSH agent: %w", err)
	}
	for _, key := range list {
		k, err := exchange.ParsePublicKey(key.Blob)
		if err == nil && among(s.keys, k) == nil {
			return f(a, key, k)
		}
	}
	return hint.With(errors.New("the SSH agent has none of public_keys in the profile"), "add the key: ssh-add FILE; list the keys: ssh-add -l")
}
