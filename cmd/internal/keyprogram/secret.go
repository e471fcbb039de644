package keyprogram

import (
	"context"
	"errors"
	"os/exec"
	"sync"

	"sallyport/cmd/internal/secretfile"
	"sallyport/sessions/client"
)

// Secret is a secret that a program prints: the client.Signer of a secret_command. The
// program runs once, for the first use.
type Secret struct {
	Program Program
	// Check returns an error about a secret that is not valid; nil: any text is. The error
	// must not repeat the secret.
	Check func(secret string) error

	mu     sync.Mutex
	secret string
}

// Sign implements client.Signer.
func (s *Secret) Sign(ctx context.Context, messages ...[]byte) ([]client.MAC, error) {
	secret, err := s.Get(ctx)
	if err != nil {
		return nil, err
	}
	return client.SecretSigner(secret).Sign(ctx, messages...)
}

// Get returns the secret.
func (s *Secret) Get(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.secret != "" {
		return s.secret, nil
	}
	text, err := s.Program.output(ctx, secretfile.MaxSecret)
	if err != nil {
		return "", err
	}
	secret, err := secretfile.Parse(s.Program.name(), text)
	if err == nil && s.Check != nil {
		err = s.Check(secret)
	}
	if err != nil {
		return "", err
	}
	s.secret = secret
	return secret, nil
}

// output runs the program, and returns what it printed: at most max bytes, and one more.
func (p Program) output(ctx context.Context, most int) ([]byte, error) {
	var stderr tail
	out := limited{most: most + 1}
	cmd := p.command(&stderr)
	cmd.Stdout = &out
	limit, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	defer p.notice()()
	if err := cmd.Start(); err != nil {
		return nil, p.cannotStart(err)
	}
	stop := context.AfterFunc(limit, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	switch {
	case !stop() && ctx.Err() == nil && err != nil:
		return nil, p.failed(ctx, &stderr, p.tooLong("the secret"))
	case err != nil && !errors.Is(err, exec.ErrWaitDelay): // that is of an agent which the program has left behind
		return nil, p.failed(ctx, &stderr, p.ended(ctx, cmd, err))
	}
	return out.b, nil
}

// limited keeps the beginning of what is written to it, and drops the rest.
type limited struct {
	most int
	b    []byte
}

// Write implements io.Writer.
func (l *limited) Write(b []byte) (int, error) {
	l.b = append(l.b, b[:min(len(b), l.most-len(l.b))]...)
	return len(b), nil
}
