package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// step is an action of the schedule. A restart ends what the server has.
type step struct {
	name    string
	restart bool
	do      func(*soak, context.Context) error
}

// steps are all actions, which take turns in a random order.
var steps = []step{
	{"reload", false, (*soak).reload},
	{"SIGHUP", false, (*soak).hangUp},
	{"rotation of a client's secret", false, (*soak).rotate},
	{"revocation of a client", false, (*soak).revoke},
	{"flushed ruleset", false, (*soak).flush},
	{"full disk", false, (*soak).fill},
	{"orderly restart", true, (*soak).restart},
	{"SIGKILL of the server", true, (*soak).kill},
	{"SIGKILL of a helper", true, (*soak).killHelper},
}

const (
	leastPause = 200 * time.Millisecond
	mostPause  = time.Second
	// restartShare is the part of a run, its first, that has restarts.
	restartShare = 0.6
	fullFor      = time.Second
)

// act makes actions until a time, and each at least once.
func (s *soak) act(ctx context.Context, random *rand.Rand, begin, end time.Time) error {
	restarts := begin.Add(time.Duration(restartShare * float64(end.Sub(begin))))
	for first := true; ctx.Err() == nil && (first || time.Now().Before(end)); first = false {
		for _, i := range random.Perm(len(steps)) {
			next := steps[i]
			if !first && (next.restart && time.Now().After(restarts) || time.Now().After(end)) {
				continue
			}
			s.judge.Acted(time.Now(), next.name)
			s.done[next.name]++
			if err := next.do(s, ctx); err != nil {
				return fmt.Errorf("%s: %w", next.name, err)
			}
			wait(ctx, leastPause+time.Duration(random.Int64N(int64(mostPause-leastPause))))
		}
	}
	return nil
}

func (s *soak) reload(ctx context.Context) error {
	_, err := s.server.run(ctx, "reload")
	return err
}

func (s *soak) hangUp(context.Context) error {
	return syscall.Kill(s.server.pid(), syscall.SIGHUP)
}

// rotate gives a client a new secret. The old one stays valid, as for a device that has not
// switched, until the client's next rotation: attempts that have begun use it.
func (s *soak) rotate(ctx context.Context) error {
	i := rand.IntN(active)
	p, _ := s.clients.pick(i)
	name := p.Identifier.String()
	if s.rotated[name] {
		if _, err := s.server.run(ctx, "client", "rotate", name, "--end"); err != nil {
			return err
		}
	}
	s.rotated[name] = true
	out, err := s.server.run(ctx, "client", "rotate", name, "--for", "24h", "--json")
	if err != nil {
		return err
	}
	var rotated struct{ Profile string }
	if err := json.Unmarshal(out, &rotated); err != nil {
		return fmt.Errorf("read the new profile: %w", err)
	}
	_, rest, _ := strings.Cut(rotated.Profile, "\nsecret = '")
	secret, _, ok := strings.Cut(rest, "'")
	if !ok {
		return errors.New("the new profile has no secret")
	}
	s.clients.mu.Lock()
	defer s.clients.mu.Unlock()
	s.clients.profiles[i].Secret = []byte(secret)
	return nil
}

// revoke removes a client, which goes on to knock, and puts another one in its place.
func (s *soak) revoke(ctx context.Context) error {
	i := rand.IntN(active)
	p, _ := s.clients.pick(i)
	name := p.Identifier.String()
	if _, err := s.server.run(ctx, "client", "revoke", name); err != nil {
		return err
	}
	now := time.Now()
	s.judge.Revoked(now, name)
	if last, ok := s.clients.replace(i); ok {
		s.looking.Go(func() { s.clients.watch(ctx, last, now, 3*time.Second, lookEach) })
	}
	s.looking.Go(func() { s.clients.insist(ctx, p) })
	return nil
}

func (s *soak) flush(ctx context.Context) error {
	s.judge.Flushed(time.Now())
	_, err := nft(ctx, s.server.host, "flush", "ruleset")
	return err
}

// fill leaves no space on the disk of the state for a while.
func (s *soak) fill(ctx context.Context) error {
	path := filepath.Join(s.disk, "filler")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("fill the disk: %w", err)
	}
	wait(ctx, fullFor)
	return os.Remove(path)
}

func (s *soak) restart(ctx context.Context) error { return s.again(ctx, syscall.SIGTERM) }

func (s *soak) kill(ctx context.Context) error { return s.again(ctx, syscall.SIGKILL) }

func (s *soak) again(ctx context.Context, signal syscall.Signal) error {
	if err := s.server.end(signal); err != nil {
		return err
	}
	return s.server.start(ctx)
}

// killHelper kills a process below the server, and starts the server again.
func (s *soak) killHelper(ctx context.Context) error {
	helpers := descendants(s.server.pid())[1:]
	if len(helpers) == 0 {
		return errors.New("the server has no helper")
	}
	err := syscall.Kill(helpers[rand.IntN(len(helpers))], syscall.SIGKILL)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	wait(ctx, leastPause)
	return s.again(ctx, syscall.SIGTERM)
}

// plant opens a service by hand: without any process of the server, it removes the table.
func (s *soak) plant(ctx context.Context) error {
	if err := s.server.end(syscall.SIGKILL); err != nil {
		return err
	}
	s.judge.Acted(time.Now(), planted)
	if err := s.flush(ctx); err != nil {
		return err
	}
	wait(ctx, mostPause)
	return s.server.start(ctx)
}
