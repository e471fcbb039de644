package sshkey

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/ssh/agent"

	"sallyport/cmd/internal/hint"
	"sallyport/verify/challenge/exchange"
)

const (
	// listTime is how long an agent may take to list its keys. It may ask a person to
	// unlock it first.
	listTime = 30 * time.Second
	// noticeTime is after how long the client prints for what it waits.
	noticeTime = time.Second
)

// agentSigner has the private key in an SSH agent.
type agentSigner struct {
	keys   []exchange.PublicKey
	dial   func(context.Context) (io.ReadWriteCloser, error)
	limit  time.Duration // of Prepare
	stderr io.Writer     // for notices; nil: there are none
}

// Prepare checks that the agent has one of the keys.
func (s *agentSigner) Prepare(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	defer s.notice(noticeTime, "waiting for the SSH agent to list its keys")()
	_, err := s.ask(limited, func(agent.ExtendedAgent, *agent.Key, exchange.PublicKey) ([]byte, error) { return nil, nil })
	if limited.Err() != nil && ctx.Err() == nil {
		err = hint.With(fmt.Errorf("expected the list of keys from the SSH agent within %s, got none", s.limit),
			"\"ssh-add -l\" waits for the same agent, which SSH_AUTH_SOCK names: unlock it, or start it again")
	}
	return err
}

// Sign implements client.KeySigner. The agent may ask a person, or wait for a touch, until
// ctx ends.
func (s *agentSigner) Sign(ctx context.Context, data []byte) ([]byte, error) {
	if err := checkData(data); err != nil {
		return nil, err
	}
	return s.ask(ctx, func(a agent.ExtendedAgent, key *agent.Key, k exchange.PublicKey) ([]byte, error) {
		defer s.signNotice(k)()
		signature, err := a.Sign(key, data)
		if err != nil {
			return nil, hint.With(fmt.Errorf("the SSH agent refused to sign with %s: %w", Fingerprint(k), err),
				"confirm the signature if the agent asks for it, and touch the security key while it blinks")
		}
		if signature.Format != k.Type() {
			return nil, fmt.Errorf("expected a signature of type %s from the SSH agent, got %.40q", k.Type(), signature.Format)
		}
		// Of a security key, the flags and the counter come after the signature.
		response := append(signature.Blob, signature.Rest...)
		// The profile lacks the option no-touch-required, so the server checks the touch.
		if k.NoTouch = true; !k.Verifies(data, response) {
			return nil, fmt.Errorf("expected a signature of %s from the SSH agent, got one that is not valid", Fingerprint(k))
		}
		return response, nil
	})
}

// signNotice prints for what the client waits, unless stop is called in time. The time of
// the server passes: a person who must touch a key has to know at once.
func (s *agentSigner) signNotice(k exchange.PublicKey) (stop func()) {
	if k.IsSecurityKey() {
		return s.notice(0, "waiting for the SSH agent to sign: touch the security key when it blinks")
	}
	return s.notice(noticeTime, "waiting for the SSH agent to sign: it may ask you to confirm, or for a PIN or a touch")
}

func (s *agentSigner) notice(after time.Duration, text string) (stop func()) {
	switch {
	case s.stderr == nil:
		return func() {}
	case after == 0:
		fmt.Fprintln(s.stderr, text)
		return func() {}
	}
	t := time.AfterFunc(after, func() { fmt.Fprintln(s.stderr, text) })
	return func() { t.Stop() }
}

// useKey does something with a key of an agent.
type useKey = func(agent.ExtendedAgent, *agent.Key, exchange.PublicKey) ([]byte, error)

// ask calls use with the first of the keys that the agent has, and returns its result, or
// the error of ctx. It does not wait for the agent longer than that: on some systems,
// neither ctx nor Close ends a read.
func (s *agentSigner) ask(ctx context.Context, use useKey) ([]byte, error) {
	type result struct {
		b   []byte
		err error
	}
	results := make(chan result, 1)
	go func() {
		b, err := s.connect(ctx, use)
		results <- result{b, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-results:
		return r.b, r.err
	}
}

func (s *agentSigner) connect(ctx context.Context, use useKey) ([]byte, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, hint.With(fmt.Errorf("reach the SSH agent: %w", err),
			"start one, such as with eval $(ssh-agent), and add the key: ssh-add; or set key in place of agent in the profile\n"+
				"the client uses the agent that SSH_AUTH_SOCK names, and not IdentityAgent of ssh's configuration")
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	a := agent.NewClient(conn)
	list, err := a.List()
	if err != nil {
		return nil, hint.With(fmt.Errorf("list the keys of the SSH agent: %w", err), "is it an SSH agent that SSH_AUTH_SOCK names? \"ssh-add -l\" shows it")
	}
	for _, key := range list {
		k, err := exchange.ParsePublicKey(key.Blob)
		if err == nil && among(s.keys, k) {
			return use(a, key, k)
		}
	}
	return nil, hint.With(errors.New("the SSH agent has none of public_keys in the profile"),
		"add the key: ssh-add FILE; list the keys: ssh-add -l; a locked agent lists none: ssh-add -X")
}
