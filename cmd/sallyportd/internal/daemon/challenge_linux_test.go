package daemon

import (
	"encoding/json"
	"log/slog"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"sallyport/bench/netns"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/clock/clocktest"
	"sallyport/verify/challenge"
	"sallyport/verify/challenge/exchange"
)

// TestCapturerDies: exchanges end with an error if the process that captures packets
// dies, over each transport, so that the server stops. A server that hears no client
// must not continue.
func TestCapturerDies(t *testing.T) {
	o, err := exchange.NewOperation("ssh-alice", "secret", exchange.NATAware, false)
	if err != nil {
		t.Fatal(err)
	}
	plan := challenge.Plan{
		Request:  challenge.Encoding{Scheme: challenge.Ranges, Base: 16384, DataBits: 8},
		Response: challenge.Encoding{Scheme: challenge.Ranges, Base: 25600, DataBits: 8},
		Ports:    challenge.Ports{First: 16384, Last: 30719},
	}
	all, err := exchange.NewOperations([]*exchange.Operation{o}, plan)
	if err != nil {
		t.Fatal(err)
	}
	for name, overTCP := range map[string]*config.Answers{"udp": nil, "tcp": {}} {
		t.Run(name, func(t *testing.T) {
			cfg := &config.Config{Challenge: &config.Challenge{Plan: plan, Answers: overTCP}}
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			capturer := os.NewFile(uintptr(pair[1]), "capturer")
			hello, err := json.Marshal(cfg.Captured())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := capturer.Write(hello); err != nil {
				t.Fatal(err)
			}
			env := Env{Clock: clocktest.NewHost().Clock(), Log: slog.New(slog.DiscardHandler), Capturer: os.NewFile(uintptr(pair[0]), "capturer")}
			c, err := newChallenger(cfg, operations{protocol: all}, new(uses), nil, func([]command) []error { return nil }, nil, env)
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- c.run(t.Context()) }()
			capturer.Close()
			netns.Until(t, "the end", func() bool { return len(ended) > 0 })
			if err := <-ended; err == nil {
				t.Error("ended without an error")
			}
		})
	}
}
